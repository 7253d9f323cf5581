"""A run folder: named stages that appear whole or not at all, are skipped when nothing they depend on has changed."""

import importlib.metadata
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock
import yaml

import embedtrain
from embedtrain.errors import UserError, describe_change
from embedtrain.files import (
    DISK_FULL,
    read_json,
    sha256_of_folder,
    sha256_of_value,
    whole_folder,
    write_json,
    write_text,
)
from embedtrain.libraries import quiet_libraries
from embedtrain.models import Choice

logger = logging.getLogger(__name__)

STAGE_RECORD = "stage.json"
WAIT_SECONDS = 0.2
PACKAGES = ("torch", "sentence-transformers", "transformers", "datasets", "accelerate", "bm25s", "pandas", "numpy")


@contextmanager
def full_disk_told(output: str | Path) -> Iterator[None]:
    """Turn the error of a full disk into one in words.

    Raises:
        UserError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise UserError(
            f"--output {output}: the disk is full; what is whole stays: make room, and the same command goes on"
        ) from error


class Run:
    """The folder of one run and its stages.

    Layout: ``config.yaml`` (every option resolved), ``manifest.json`` (stages done, versions, choices with reasons),
    ``stages/<name>/`` (a stage's files and its ``stage.json``), and what the pipeline adds.

    Used as ``with Run(...) as run:``, which keeps other processes out of the folder meanwhile, and the libraries
    beneath quiet.

    Of several processes that torchrun or accelerate started together, the first does the stages and writes; the others
    take part in those that are shared, and wait for the rest.

    Args:
        folder: Made when it does not exist.
        config: Every option of the run, as plain values.

    Raises:
        UserError: When the folder cannot be written to, or another process is working in it.
    """

    def __init__(self, folder: str | Path, *, config: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.config = dict(config)
        self.leads = int(os.environ.get("RANK", "0")) == 0
        self.manifest: dict[str, Any] = {
            "embedtrain": embedtrain.__version__,
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
            "stages": {},
        }
        self.lock: filelock.FileLock | None = None
        self._open = ExitStack()
        if not self.leads:
            return
        check_writable(self.folder)
        # The system lets go of it when the process dies, however it dies.
        self.lock = filelock.FileLock(self.folder / ".lock", timeout=0)
        try:
            self.lock.acquire()
        except filelock.Timeout:
            raise UserError(f"--output {folder}: another process is working in this run folder") from None
        self._clear_leftovers()
        write_text(self.folder / "config.yaml", yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))

    def __enter__(self) -> Self:
        self._open.enter_context(quiet_libraries())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes work in the folder."""
        self._open.close()
        if self.lock is not None:
            self.lock.release()

    def path(self, stage: str, *parts: str) -> Path:
        """A file or folder of a stage."""
        return self.folder.joinpath("stages", stage, *parts)

    def stage(
        self,
        name: str,
        *,
        inputs: Mapping[str, Any],
        work: Callable[[Path], None],
        shared: bool = False,
        title: str | None = None,
    ) -> Path:
        """Do a stage, or keep what an earlier call of the same inputs made.

        Args:
            name: The stage's folder under ``stages/``.
            inputs: Everything that its result depends on, as plain values: options, and hashes of files. A change of
                one is named and runs the stage again.
            work: Fills the empty folder that it is given; the folder takes its place only when this returns.
            shared: Whether all processes of a distributed run do it together; what the others write is thrown away.
            title: What people are told instead of the folder's name.

        Returns:
            The stage's folder.
        """
        folder, title = self.path(name), title or name
        inputs = {"embedtrain": embedtrain.__version__, **inputs}
        key = sha256_of_value(inputs)
        record = self._record(folder)
        if not self.leads:
            if shared and (record is None or record["key"] != key):
                with tempfile.TemporaryDirectory(prefix="embedtrain-") as scratch:
                    work(Path(scratch))
            record = self._await(folder, key)
        elif record and record["key"] == key:
            logger.info("%s: kept from an earlier run, nothing it depends on has changed", title)
        else:
            if record:
                logger.info("%s: run again, %s", title, describe_change(record["inputs"], inputs))
            started = time.perf_counter()
            with whole_folder(folder) as beside:
                work(beside)
                record = {
                    "key": key,
                    "inputs": inputs,
                    "seconds": round(time.perf_counter() - started, 3),
                    "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                }
                write_json(beside / STAGE_RECORD, record)
            logger.info("%s: done in %.1f s", title, record["seconds"])
        self.manifest["stages"][name] = {part: record[part] for part in ("key", "seconds", "finished", "inputs")}
        self.write_manifest()
        return folder

    def note(self, **values: Any) -> None:
        """Put values into the manifest."""
        self.manifest.update(values)
        self.write_manifest()

    def note_choices(self, **choices: Choice) -> None:
        """Say what was chosen, such as the device, and put it into the manifest with its reason."""
        for name, choice in choices.items():
            logger.info("%s: %s", name, choice)
        self.note(**{name: asdict(choice) for name, choice in choices.items()})

    def keep(self, source: Path, name: str, *, texts: Mapping[str, str] | None = None) -> None:
        """Copy a folder of a stage to the top of the run; where the stage has none, none is left there.

        Args:
            source: The stage's folder.
            name: Of the folder at the top.
            texts: Text files to stand in it besides, by name.
        """
        target = self.folder / name
        texts = texts or {}
        if not self.leads:
            return
        if not source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        elif not target.is_dir() or sha256_of_folder(source, without=texts) != sha256_of_folder(target, without=texts):
            with whole_folder(target) as beside:
                shutil.copytree(source, beside, dirs_exist_ok=True)
                for file, text in texts.items():
                    write_text(beside / file, text)
        else:
            for file, text in texts.items():
                write_text(target / file, text)

    def write_manifest(self) -> None:
        """Write ``manifest.json``."""
        if self.leads:
            write_json(self.folder / "manifest.json", self.manifest)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds each stage took when it was run."""
        return {name: stage["seconds"] for name, stage in self.manifest["stages"].items()}

    def _await(self, folder: Path, key: str) -> dict[str, Any]:
        """The record of a stage once the first process has done it; torchrun ends this one when that one fails."""
        while True:
            record = self._record(folder)
            if record and record["key"] == key:
                return record
            time.sleep(WAIT_SECONDS)

    @staticmethod
    def _record(folder: Path) -> dict[str, Any] | None:
        try:
            return read_json(folder / STAGE_RECORD)
        except (FileNotFoundError, ValueError):
            return None

    def _clear_leftovers(self) -> None:
        # What a killed process was writing; it never became part of the run.
        for leftover in [*self.folder.glob(".*.part"), *self.folder.glob("stages/.*.part")]:
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()


def check_writable(folder: Path, *, option: str = "--output") -> None:
    """Make the folder if needed, and raise ``UserError`` when files cannot be written to it."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{option} {folder}: cannot write there ({error.strerror}); expected a writable folder"
        ) from None
