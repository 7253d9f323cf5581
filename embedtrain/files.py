"""Files that appear whole or not at all, and hashes of what they hold."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

# No room, none left of one's own share, or a file larger than the system allows.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows does not open folders, and syncs only what may be written to.
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success it is synced and renamed over ``path``."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield beside
        _sync(beside)
        os.replace(beside, target)
        _sync(target.parent)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to fill; on success every file is synced and it takes ``path``'s place."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside, old = (target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part") for _ in range(2))
    beside.mkdir()
    try:
        yield beside
        for inner in sorted(beside.rglob("*")):
            _sync(inner)
        # Renamed away before it is deleted, so that a kill in between cannot leave half of the old one in place.
        if target.exists():
            os.replace(target, old)
        os.replace(beside, target)
        _sync(target.parent)
    finally:
        for leftover in (beside, old):
            shutil.rmtree(leftover, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write readable JSON (non-ASCII text kept as it is) whole or not at all; NaN is refused, it is not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_parquet(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table as Parquet, without its index, whole or not at all."""
    with whole_file(path) as beside:
        frame.to_parquet(beside, index=False)


def sha256_of_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_of_value(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def sha256_of_folder(path: str | Path, *, without: Collection[str] = ()) -> str:
    """Hex SHA-256 over the relative names and contents of a folder's files, leaving out those of some names."""
    root = Path(path)
    left_out = {root / name for name in without}
    names = sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".") and p not in left_out)
    return sha256_of_value([[str(p.relative_to(root)), sha256_of_file(p)] for p in names])
