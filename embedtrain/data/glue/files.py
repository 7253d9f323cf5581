"""Where the files of GLUE's tasks lie, in the folders of its own download and in those of the hub's copy."""

from dataclasses import dataclass
from pathlib import Path

from embedtrain.data.glue.tasks import TASKS, GLUETask, plain_name
from embedtrain.errors import UserError

ENDINGS = (".tsv", ".csv", ".jsonl", ".json", ".parquet")
# The files that MRPC is published as; GLUE's own dev rows are those of the first whose ids the third lists.
MSR_TRAIN, MSR_TEST, MSR_DEV_IDS = "msr_paraphrase_train.txt", "msr_paraphrase_test.txt", "dev_ids.tsv"
_SHOWN_FILES = 8


@dataclass(frozen=True)
class TaskFiles:
    """The folder of one task."""

    folder: Path

    def split(self, *stems: str) -> list[Path]:
        """The file of a split by any of the names it may have; several where it is cut into parts; none if not there.

        Raises:
            UserError: Several files could be meant.
        """
        single = [path for stem in stems for ending in ENDINGS if (path := self.folder / f"{stem}{ending}").is_file()]
        parts = {stem: sorted(self.folder.glob(f"{stem}-*-of-*.parquet")) for stem in stems}
        found = [[path] for path in single] + [paths for paths in parts.values() if paths]
        if len(found) > 1:
            names = " and ".join(paths[0].name for paths in found)
            raise UserError(f"{self.folder}: found {names}, which are read as the same rows; keep one")
        return found[0] if found else []

    def missing(self, *stems: str) -> str:
        """What to say of a split that is not there: the files that were looked for and those that are."""
        wanted = " or ".join(stems) + f" with the ending {', '.join(ENDINGS)}"
        files = sorted(path.name for path in self.folder.iterdir() if path.is_file() and path.name[0] != ".")
        more = f" and {len(files) - _SHOWN_FILES} more" if len(files) > _SHOWN_FILES else ""
        there = f"found {', '.join(files[:_SHOWN_FILES])}{more}" if files else "there is no file in it"
        return f"{self.folder}: looked for {wanted}; {there}"


def task_folder(root: Path, task: GLUETask) -> TaskFiles | None:
    """The folder of a task under any spelling of its name, or None.

    Raises:
        UserError: Two folders could be meant.
    """
    found = [
        path for path in sorted(root.iterdir()) if path.is_dir() and plain_name(path.name) == plain_name(task.name)
    ]
    if len(found) > 1:
        raise UserError(
            f"{root}: the folders {' and '.join(path.name for path in found)} both stand for {task.name}; keep one"
        )
    return TaskFiles(found[0]) if found else None


def tasks_in(root: Path) -> list[GLUETask]:
    """The tasks that have a folder there, in GLUE's order.

    Raises:
        UserError: There is no such folder, or it holds none of the tasks.
    """
    if not root.is_dir():
        raise UserError(
            f"--data-root {root}: no such folder; expected one that holds folders such as CoLA or MRPC, or the name "
            "of a data set on the hub, such as nyu-mll/glue"
        )
    found = [task for task in TASKS.values() if task_folder(root, task) is not None]
    if not found:
        there = sorted(path.name for path in root.iterdir() if path.name[0] != ".")
        inside = f"found {', '.join(there[:_SHOWN_FILES])}" if there else "it is empty"
        raise UserError(f"--data-root {root}: looked for the folders {', '.join(TASKS)}; {inside}")
    return found
