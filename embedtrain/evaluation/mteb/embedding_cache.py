"""Embeddings on disk by the content of their texts: each text is computed once per model, the room taken is bounded."""

import contextlib
import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtrain.files import whole_file

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
_DIGEST_BYTES = 16
_HEADER_BYTES = 128  # of a .npy file of this kind
_KEYS, _ROWS = ".keys.npy", ".rows.npy"


class EmbeddingCache:
    """The embeddings that one model made, in shards; shards that were not used for longest go first.

    A shard is two files, digests of texts (n, 16 bytes) and embeddings (n, dim), float32. Several processes may share a
    folder: shards are only ever added whole or deleted, and one that is gone is computed again.

    Args:
        root: The folder of all models' shards.
        model: What tells this model's embeddings from others': its weights, precision and whatever else changes them.
        max_bytes: Room for the shards of all models together.
    """

    def __init__(self, root: str | Path, *, model: str, max_bytes: int) -> None:
        self.root = Path(root)
        self.folder = self.root / hashlib.sha256(model.encode()).hexdigest()[:16]
        self.max_bytes = max_bytes
        self.computed = 0
        self.reused = 0
        self._places: dict[bytes, tuple[str, int]] = {}
        self._shards: dict[str, Floats] = {}
        self._open()

    def embeddings(self, texts: Sequence[str], compute: Callable[[list[str]], Floats], *, context: str = "") -> Floats:
        """The embeddings of texts, (texts, dim) float32, computed where they are not there yet.

        Args:
            texts: May repeat; each is computed once.
            compute: Gives the embeddings of a list of texts.
            context: Whatever else an embedding depends on, such as a prompt.
        """
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        digests = [_digest(text, context) for text in texts]
        missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in self._places}
        self.computed += len(missing)
        self.reused += len(texts) - len(missing)
        fresh: dict[bytes, int] = {digest: row for row, digest in enumerate(missing)}
        made = np.asarray(compute(list(missing.values())), dtype=np.float32) if missing else None
        known = [self._row(digest) for digest in digests if digest not in fresh]
        width = made.shape[1] if made is not None else len(known[0])
        result = np.empty((len(texts), width), dtype=np.float32)
        rest = iter(known)
        for at, digest in enumerate(digests):
            if digest in fresh and made is not None:
                result[at] = made[fresh[digest]]
            else:
                result[at] = next(rest)
        if made is not None:
            self._add(list(missing), made)
        return result

    def _row(self, digest: bytes) -> Floats:
        shard, row = self._places[digest]
        return self._shards[shard][row]

    def _open(self) -> None:
        for keys in sorted(self.folder.glob(f"*{_KEYS}")):
            name = keys.name.removesuffix(_KEYS)
            try:
                digests = np.load(keys)
                rows = np.load(self.folder / f"{name}{_ROWS}", mmap_mode="r")
                if digests.shape != (len(rows), _DIGEST_BYTES) or rows.dtype != np.float32:
                    continue
                # Read by whoever opens it, so that it is not among those that go first.
                os.utime(keys)
            except (OSError, ValueError, EOFError):  # Another process deleted it, or the disk damaged it.
                continue
            self._shards[name] = rows
            self._places.update({digest.tobytes(): (name, row) for row, digest in enumerate(digests)})

    def _add(self, digests: list[bytes], rows: Floats) -> None:
        size = rows.nbytes + _DIGEST_BYTES * len(digests) + 2 * _HEADER_BYTES
        name = uuid.uuid4().hex
        # In memory for this process in any case, so that a corpus in pieces is not computed twice.
        self._shards[name] = rows
        self._places.update({digest: (name, row) for row, digest in enumerate(digests)})
        if size > self.max_bytes:
            logger.info("%d embeddings are not kept on disk: they alone need more than the cache's bound", len(rows))
            return
        self._make_room(size)
        with whole_file(self.folder / f"{name}{_ROWS}") as beside, beside.open("wb") as handle:
            np.save(handle, np.ascontiguousarray(rows))
        # Digests come last: a shard without them is not read.
        with whole_file(self.folder / f"{name}{_KEYS}") as beside, beside.open("wb") as handle:
            np.save(handle, np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, _DIGEST_BYTES))
        self._shards[name] = np.load(self.folder / f"{name}{_ROWS}", mmap_mode="r")

    def _make_room(self, size: int) -> None:
        shards = []
        for rows in self.root.glob(f"*/*{_ROWS}"):
            keys = rows.with_name(rows.name.removesuffix(_ROWS) + _KEYS)
            with contextlib.suppress(OSError):
                # Without its digests a shard is a killed process's, and goes first.
                used, more = (keys.stat().st_mtime, keys.stat().st_size) if keys.exists() else (0.0, 0)
                shards.append((used, rows.stat().st_size + more, keys, rows))
        taken = sum(bytes_ for _, bytes_, _, _ in shards)
        for _, bytes_, keys, rows in sorted(shards):
            if taken + size <= self.max_bytes:
                return
            for path in (keys, rows):
                path.unlink(missing_ok=True)
            taken -= bytes_


def _digest(text: str, context: str) -> bytes:
    return hashlib.blake2b(f"{context}\0{text}".encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
