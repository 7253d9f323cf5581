"""A mirror: a plain folder with the data of mteb's tasks, one folder a task, one file a split and subset.

::

    mirror/STSBenchmark/test.parquet                         a task with one subset
    mirror/STSBenchmarkMultilingualSTS/zh/test.parquet       a task with several
    mirror/SciFact/corpus.parquet                            retrieval and reranking: corpus (id, title, text),
    mirror/SciFact/queries.parquet                           queries (id, text),
    mirror/SciFact/qrels/test.parquet                        qrels (query-id, corpus-id, score) of each split, and
    mirror/AskUbuntuDupQuestions/top_ranked/test.parquet     for reranking the candidates (query-id, corpus-ids)
    mirror/Core17InstructionRetrieval/qrel_diff.parquet      what changed instructions change (query-id, corpus-ids)

Tables are Parquet, CSV, TSV, JSONL or JSON, with mteb's own column names, as the task judges them: what mteb does to
data after loading is done already. Corpus and queries may also differ between splits (``corpus/test.parquet``).
"""

from dataclasses import dataclass
from pathlib import Path

from embedtrain.errors import UserError
from embedtrain.files import sha256_of_file, sha256_of_value

ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl", ".json")
DEFAULT_SUBSET = "default"
_SHOWN_FILES = 8


@dataclass(frozen=True)
class Mirror:
    """A folder of tasks."""

    root: Path

    @classmethod
    def at(cls, root: str | Path) -> "Mirror":
        """The mirror in a folder.

        Raises:
            UserError: When there is no such folder.
        """
        root = Path(root)
        if not root.is_dir():
            raise UserError(f"--data-root {root}: no such folder; expected one folder a task in it")
        return cls(root)

    @property
    def names(self) -> list[str]:
        """The folders in it, which are called as the tasks are."""
        return sorted(entry.name for entry in self.root.iterdir() if entry.is_dir() and entry.name[0] not in "._")

    def folder(self, task: str) -> "TaskFolder":
        """Where a task's data lies, or would lie."""
        return TaskFolder(self.root / task)


@dataclass(frozen=True)
class TaskFolder:
    """The folder of one task, or the one file that a task of the user's own is made of.

    Attributes:
        path: The folder.
        single: The file that is the split ``test``, where there is no folder.
        origin: In words, what the files were made of, where a person did not write them.
    """

    path: Path
    single: Path | None = None
    origin: str = ""

    @property
    def files(self) -> list[Path]:
        """Every table in it."""
        if self.single is not None:
            return [self.single]
        found = (path for path in self.path.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
        return sorted(path for path in found if not path.name.startswith("."))

    @property
    def fingerprint(self) -> str:
        """A hash of every table's name and content."""
        return sha256_of_value([[str(path.relative_to(self.path)), sha256_of_file(path)] for path in self.files])

    def table(self, split: str, subset: str) -> Path | None:
        """The file of a split and subset, or None.

        Raises:
            UserError: When several files could be meant.
        """
        if self.single is not None:
            return self.single if (split, subset) == ("test", DEFAULT_SUBSET) else None
        return self._one(self._stems(split, subset))

    def part(self, part: str, split: str, subset: str) -> Path | None:
        """The file of a part of a retrieval task, such as ``corpus``, for a split and subset, or None.

        Raises:
            UserError: When several files could be meant.
        """
        return self._one(self._part_stems(part, split, subset))

    def looked_for(self, split: str, subset: str, *, retrieval: bool, part: str | None = None) -> str:
        """In words, which files a split and subset would be made of."""
        if not retrieval:
            return _any_ending(self.path / self._stems(split, subset)[0])
        folder = _folders(subset)[0]
        if part not in (None, "corpus", "queries", "qrels"):
            return _any_ending(self.path / f"{folder}{part}")
        stems = (f"{folder}corpus", f"{folder}queries", f"{folder}qrels/{split}")
        return ", ".join(_any_ending(self.path / stem) for stem in stems)

    @property
    def listing(self) -> str:
        """In words, which files are there."""
        if not self.path.is_dir():
            return "there is no such folder"
        names = [str(path.relative_to(self.path)) for path in self.files]
        more = f" and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else ""
        return f"found {', '.join(names[:_SHOWN_FILES])}{more}" if names else "found no table there"

    def _stems(self, split: str, subset: str) -> list[str]:
        return [f"{folder}{split}" for folder in _folders(subset)]

    def _part_stems(self, part: str, split: str, subset: str) -> list[str]:
        folders = _folders(subset)
        # What belongs to the split comes before what belongs to all.
        own = [f"{folder}{stem}" for folder in folders for stem in (f"{part}/{split}", f"{part}_{split}")]
        # Judgements belong to a split, always.
        return own if part == "qrels" else [*own, *(f"{folder}{part}" for folder in folders)]

    def _one(self, stems: list[str]) -> Path | None:
        for stem in stems:
            found = [path for path in (self.path / f"{stem}{ending}" for ending in ENDINGS) if path.is_file()]
            if len(found) > 1:
                names = " and ".join(str(path.relative_to(self.path)) for path in found)
                raise UserError(f"{self.path}: found {names}, which are read as the same table; keep one")
            if found:
                return found[0]
        return None


def _folders(subset: str) -> list[str]:
    # A task with one subset needs no folder for it.
    return ["", f"{subset}/"] if subset == DEFAULT_SUBSET else [f"{subset}/"]


def _any_ending(stem: Path) -> str:
    return f"{stem}.{{{','.join(ending[1:] for ending in ENDINGS)}}}"
