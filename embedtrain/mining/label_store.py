"""Labels in shards on disk: each appears whole or not at all, is known by its hash, and is never computed twice."""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from embedtrain.errors import UserError, describe_change
from embedtrain.files import read_json, sha256_of_file, sha256_of_value, whole_file, write_json
from embedtrain.mining.names import SHARD_ROWS

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
WAIT_SECONDS = 0.5
OnChange = Literal["refuse", "restart"]


class LabelStore:
    """A folder of labelled pairs in shards of equal size.

    Layout: ``manifest.json`` (what the labels depend on, and, when all is done, the hash of every shard),
    ``shards/part-00000.parquet`` ..., which any reader of Parquet folders takes as one table, and
    ``hashes/part-00000.json`` ..., written behind each shard: what a killed process left without one, and a shard whose
    bytes are not those of its hash, is labelled again.

    Several processes may fill one store, as long as no two of them write the same shard.

    Args:
        folder: Made when it does not exist.
        rows: Pairs in all shards together.
        inputs: Everything that the labels depend on, as plain values by name: hash of the pairs, of the teacher,
            options. Pairs in a shard are labelled together, so its size is one of them.
        shard_rows: Pairs in a shard; the last one may have fewer.
        on_change: What to do with labels of other inputs that are found in the folder: ``refuse`` to go on, or
            ``restart`` and throw them away. What has changed is named in both cases.
        leads: Whether this process makes the folder ready; the others wait until it is.

    Raises:
        UserError: The folder holds labels of other inputs, and ``on_change`` is ``refuse``.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        rows: int,
        inputs: Mapping[str, Any],
        shard_rows: int = SHARD_ROWS,
        on_change: OnChange = "refuse",
        leads: bool = True,
    ) -> None:
        if rows < 1 or shard_rows < 1:
            raise ValueError(f"expected at least one pair and one pair a shard, found {rows} and {shard_rows}")
        self.folder = Path(folder)
        self.rows = rows
        self.shard_rows = shard_rows
        # As it comes back from the manifest.
        self.inputs = json.loads(json.dumps({**inputs, "rows": rows, "shard_rows": shard_rows}))
        self.key = sha256_of_value(self.inputs)
        if leads:
            self._make_ready(on_change)
        else:
            self._await_manifest()

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """The store that another process has made ready in a folder."""
        inputs = read_json(Path(folder) / MANIFEST)["inputs"]
        rest = {name: value for name, value in inputs.items() if name not in ("rows", "shard_rows")}
        return cls(folder, rows=inputs["rows"], shard_rows=inputs["shard_rows"], inputs=rest, leads=False)

    def __len__(self) -> int:
        return -(-self.rows // self.shard_rows)

    def bounds(self, shard: int) -> tuple[int, int]:
        """First row and end of a shard."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.rows)

    def path(self, shard: int) -> Path:
        """The file of a shard, whether it is there or not."""
        return self.folder / "shards" / f"{self._name(shard)}.parquet"

    def missing(self, *, rank: int = 0, world: int = 1) -> list[int]:
        """The shards that are absent or damaged, of those whose number is ``rank`` modulo ``world``."""
        return [shard for shard in range(rank, len(self), world) if not self._is_whole(shard)]

    def whole(self) -> bool:
        """Whether every shard is there and undamaged."""
        return all(self._is_whole(shard) for shard in range(len(self)))

    def write(self, shard: int, labelled: pd.DataFrame, *, seconds: float = 0.0) -> None:
        """Write a shard, then its hash.

        Args:
            shard: Its number.
            labelled: All its pairs with their scores; the index is not written.
            seconds: Time that labelling it took, for the records.

        Raises:
            OSError: The disk is full, for instance; the shard counts as missing then.
        """
        start, stop = self.bounds(shard)
        if len(labelled) != stop - start:
            raise ValueError(f"expected the {stop - start} pairs of shard {shard}, found {len(labelled)}")
        table = pa.Table.from_pandas(labelled, preserve_index=False).replace_schema_metadata(None)
        with whole_file(self.path(shard)) as beside:
            pq.write_table(table, beside, compression="zstd")
        record = {"key": self.key, "sha256": sha256_of_file(self.path(shard)), "seconds": round(seconds, 3)}
        write_json(self._record_path(shard), record)

    def read(self, shard: int, columns: list[str] | None = None) -> pd.DataFrame:
        """The pairs and scores of a shard."""
        return pd.read_parquet(self.path(shard), columns=columns)

    def clear_leftovers(self, *, rank: int = 0, world: int = 1) -> None:
        """Delete what killed processes were writing, of the shards whose number is ``rank`` modulo ``world``."""
        for folder in ("shards", "hashes"):
            for leftover in (self.folder / folder).glob(".part-*.part"):
                if int(leftover.name.removeprefix(".part-").partition(".")[0]) % world == rank:
                    leftover.unlink(missing_ok=True)

    def await_whole(self) -> None:
        """Wait until every shard is there and undamaged, whichever process writes it."""
        waiting = list(range(len(self)))
        while waiting := [shard for shard in waiting if self._fault(shard) is not None]:
            time.sleep(WAIT_SECONDS)

    def hashes(self) -> dict[str, str]:
        """The recorded hash of every shard by its file's name, once all of them are there."""
        return {self.path(shard).name: read_json(self._record_path(shard))["sha256"] for shard in range(len(self))}

    @property
    def seconds(self) -> float:
        """Time that labelling took, over all processes and all calls."""
        return sum(read_json(self._record_path(shard))["seconds"] for shard in range(len(self)))

    def finish(self) -> None:
        """Note in the manifest that every shard is there, with the hash of each."""
        hashes = self.hashes()
        if read_json(self.folder / MANIFEST).get("shards") != hashes:
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(self.folder / MANIFEST, {"inputs": self.inputs, "finished": finished, "shards": hashes})

    def frames(self, columns: list[str] | None = None) -> Iterator[tuple[int, pd.DataFrame]]:
        """Each shard with the number of its first row, one at a time."""
        for shard in range(len(self)):
            yield self.bounds(shard)[0], self.read(shard, columns)

    def _make_ready(self, on_change: OnChange) -> None:
        manifest = self.folder / MANIFEST
        try:
            before = read_json(manifest)["inputs"]
        except (FileNotFoundError, ValueError, KeyError):
            before = None
        if before is not None and before != self.inputs:
            self._discard(before, on_change)
            before = None
        for folder in ("shards", "hashes"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(f".{MANIFEST}.*.part"):
            leftover.unlink()
        if before is None:
            write_json(manifest, {"inputs": self.inputs, "finished": None})

    def _discard(self, before: Mapping[str, Any], on_change: OnChange) -> None:
        changed = describe_change(before, self.inputs)
        done = len(list((self.folder / "hashes").glob("part-*.json")))
        if done and on_change == "refuse":
            raise UserError(
                f"{self.folder}: it holds {done} shard{'' if done == 1 else 's'} of labels made with other inputs "
                f"({changed}); give another --output, or --restart to throw them away"
            )
        logger.info("labels: begun again, %s", changed)
        # The manifest goes first: what a kill leaves behind then is of no known inputs.
        (self.folder / MANIFEST).unlink()
        for folder in ("hashes", "shards"):
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    def _await_manifest(self) -> None:
        while True:
            try:
                if read_json(self.folder / MANIFEST)["inputs"] == self.inputs:
                    return
            except (FileNotFoundError, ValueError, KeyError):
                pass
            time.sleep(WAIT_SECONDS)

    def _is_whole(self, shard: int) -> bool:
        fault = self._fault(shard)
        if fault:
            logger.warning("%s: %s; it is labelled again", self.path(shard), fault)
        return fault is None

    def _fault(self, shard: int) -> str | None:
        """What is wrong with a shard; empty when it was never finished, None when it is whole."""
        record = self._record(shard)
        if record is None or record.get("key") != self.key:
            return ""
        if not os.path.isfile(self.path(shard)):
            return "gone since it was labelled"
        return None if sha256_of_file(self.path(shard)) == record["sha256"] else "damaged, its hash is another one"

    def _record(self, shard: int) -> dict[str, Any] | None:
        try:
            record = read_json(self._record_path(shard))
        except (FileNotFoundError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def _record_path(self, shard: int) -> Path:
        return self.folder / "hashes" / f"{self._name(shard)}.json"

    def _name(self, shard: int) -> str:
        # All names are equally long, so that their order is that of the shards.
        return f"part-{shard:0{max(5, len(str(len(self) - 1)))}d}"
