"""``embedtrain mteb export``: a mirror written where there is a network."""

import logging
from dataclasses import dataclass
from pathlib import Path

from embedtrain.errors import Problems, UserError
from embedtrain.evaluation.mteb.exporting import export_task, lacks_parts
from embedtrain.evaluation.mteb.mirror import TaskFolder
from embedtrain.evaluation.mteb.selecting import leaves, named_tasks
from embedtrain.pipelines.evaluate.mteb_options import ExportOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What was done: tasks written, tasks that were there already, and why others failed."""

    folder: Path
    written: list[str]
    kept: list[str]
    failed: list[str]


def export(options: ExportOptions) -> Exported:
    """Write every task that is not in the mirror yet; one that fails does not keep the others from being written.

    Raises:
        UserError: For options and names that are wrong, or when no task at all could be written.
    """
    problems = Problems()
    options.check(problems)
    problems.raise_if_any()
    tasks, benchmarks = named_tasks(options.tasks)
    members = [*tasks.values(), *(task for group in benchmarks.values() for task in group)]
    wanted = {task.metadata.name: task for task in leaves(members)}
    root = Path(options.to)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--to {root}: cannot write there ({error.strerror}); expected a writable folder") from None
    done = Exported(root, [], [], [])
    for at, (name, task) in enumerate(wanted.items(), start=1):
        if not lacks_parts(task, TaskFolder(root / name)):
            done.kept.append(name)
            continue
        logger.info("%s (%d of %d)", name, at, len(wanted))
        try:
            export_task(task, root)
        except UserError as error:
            logger.warning("%s", error)
            done.failed.extend(error.problems)
        else:
            done.written.append(name)
    if done.failed and not done.written and not done.kept:
        raise UserError(*done.failed)
    return done
