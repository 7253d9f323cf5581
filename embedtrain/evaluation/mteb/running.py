"""Running a task on local data: mteb's own result files, kept until data, model or mteb changes."""

from __future__ import annotations

import importlib.metadata
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import embedtrain
from embedtrain.errors import UserError, describe_change
from embedtrain.evaluation.kept_items import PartItems, read_parts, write_parts
from embedtrain.evaluation.mteb.columns import quick_columns
from embedtrain.evaluation.mteb.item_scores import items_of_parts
from embedtrain.evaluation.mteb.offline import no_fetching, quiet_libraries
from embedtrain.evaluation.mteb.recording import Recorded, recording
from embedtrain.evaluation.mteb.task_data import LocalData, Part, empty, fill
from embedtrain.files import read_json, sha256_of_file, write_json

if TYPE_CHECKING:
    from mteb import ResultCache, TaskResult

    from embedtrain.evaluation.mteb.encoder import LocalEncoder

logger = logging.getLogger(__name__)

# Texts that mteb hands over in one piece, where the encoder makes its own batches of them.
_LISTED = 256


@dataclass(frozen=True)
class Done:
    """A task's result.

    Attributes:
        result: As mteb reads it from its file.
        file: Where it is.
        is_kept: Whether it was there already.
        seconds: What running it took, then or now.
        items: What the score of each split and subset is made of.
        items_file: The table that keeps them, if there are any.
    """

    result: TaskResult
    file: Path
    is_kept: bool
    seconds: float
    items: dict[Part, PartItems]
    items_file: Path


class Results:
    """A folder of results: mteb's files under ``results/``, and beside them what each one was made of.

    Args:
        folder: Where they are kept; ``mteb.ResultCache(folder)`` loads them.
    """

    def __init__(self, folder: str | Path) -> None:
        from mteb import ResultCache

        self.folder = Path(folder)
        self.cache: ResultCache = ResultCache(self.folder)

    def kept(self, data: LocalData, meta: Any, *, fingerprint: str) -> Done | None:
        """The result of an earlier run, when nothing that it depends on has changed since.

        Args:
            data: The task.
            meta: mteb's meta data of the model.
            fingerprint: Of the task's files.
        """
        file, record = self._file(data, meta), self._record(data, meta)
        try:
            noted = read_json(record)
            if noted["file"] != sha256_of_file(file):
                return None
            items = read_parts(self._items(data, meta), noted["items"])
        except (OSError, ValueError, KeyError):  # There is none, or not all of it.
            return None
        inputs = _inputs(fingerprint)
        if noted["inputs"] != inputs:
            logger.info("%s: run again, %s", data.name, describe_change(noted["inputs"], inputs))
            return None
        # A result of more splits and subsets than are asked for now serves as well.
        lacking = [part for part in data.parts if list(part) not in noted["parts"]]
        if lacking:
            logger.info("%s: run again, %d more splits and subsets are asked for", data.name, len(lacking))
            return None
        asked = {part: items[part] for part in data.parts}
        return Done(_read(file), file, True, float(noted["seconds"]), asked, self._items(data, meta))

    def run(self, encoder: LocalEncoder, data: LocalData, *, fingerprint: str) -> Done:
        """Run a task and keep its result.

        Args:
            encoder: The model.
            data: The task; its data is read, and let go of afterwards.
            fingerprint: Of the task's files.
        """
        import mteb
        from mteb._set_seed import _set_seed

        meta = encoder.mteb_model_meta
        file, record = self._file(data, meta), self._record(data, meta)
        for stale in (record, file):
            stale.unlink(missing_ok=True)
        started, heard = time.perf_counter(), Recorded()
        fill(data, numbered_classes=True)
        # Each model gets what a task that was just made gives, whichever model went before it.
        data.task.rng_state, data.task.np_rng = _set_seed(data.task.seed)
        subsets, splits = data.task.hf_subsets, data.task._eval_splits
        try:
            # Groups of subsets with the same splits: mteb runs every split of a task for every subset.
            for group_splits, group_subsets in data.groups():
                data.task.hf_subsets = group_subsets
                data.task.filter_eval_splits(group_splits)
                with no_fetching(), quiet_libraries(), quick_columns(), encoder.working(), recording(data.task, heard):
                    mteb.evaluate(
                        encoder,
                        data.task,
                        cache=self.cache,
                        co2_tracker=False,
                        overwrite_strategy="only-missing",
                        encode_kwargs={"batch_size": encoder.batch_size or _LISTED, "show_progress_bar": False},
                        show_progress_bar=False,
                        prediction_folder=heard.folder,
                    )
            result = _read(file)
            with quick_columns():
                items = items_of_parts(data, heard, _entries(result))
        finally:
            data.task.hf_subsets, data.task._eval_splits = subsets, splits
            empty(data)
        seconds = round(time.perf_counter() - started, 3)
        noted = {
            "inputs": _inputs(fingerprint),
            "parts": [list(part) for part in data.parts],
            "file": sha256_of_file(file),
            "seconds": seconds,
            "items": write_parts(self._items(data, meta), items),
        }
        write_json(record, noted)
        return Done(result, file, False, seconds, items, self._items(data, meta))

    def _file(self, data: LocalData, meta: Any) -> Path:
        return Path(self.cache.get_task_result_path(task_name=data.name, model_name=meta))

    def _record(self, data: LocalData, meta: Any) -> Path:
        file = self._file(data, meta)
        return self.folder / "records" / file.relative_to(self.folder / "results")

    def _items(self, data: LocalData, meta: Any) -> Path:
        file = self._file(data, meta).with_suffix(".parquet")
        return self.folder / "items" / file.relative_to(self.folder / "results")


def _inputs(fingerprint: str) -> dict[str, Any]:
    """What a result depends on besides the model, whose revision is part of the file's place."""
    return {
        "data": fingerprint,
        "mteb": importlib.metadata.version("mteb"),
        "embedtrain": embedtrain.__version__,
    }


def _read(file: Path) -> TaskResult:
    from mteb import TaskResult

    try:
        return TaskResult.from_disk(file)
    except ValueError as error:
        raise UserError(f"{file}: not a result file of mteb: {str(error).splitlines()[0]}") from None


def _entries(result: TaskResult) -> dict[Part, Any]:
    """Mteb's own scores of each split and subset."""
    return {(split, str(entry["hf_subset"])): entry for split, entries in result.scores.items() for entry in entries}
