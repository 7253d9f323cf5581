"""The options of ``embedtrain audit``, with their checks."""

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from embedtrain.errors import Problems


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """What is looked at, and how closely.

    Args:
        data: The table, which may also stand first without a flag: a CSV, TSV, JSON, JSONL, Parquet or TXT file, a
            saved datasets folder or a hub name. Its columns tell what it holds: pairs with or without a score or a
            label, triplets, sentences with or without a label.
        against: A second table, such as the test set; texts and pairs that stand in both are told.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
        base: Whose tokenizer counts tokens: a folder, or a model's name; by default that of all-MiniLM-L6-v2 where it
            can be found. The model itself is not loaded.
        max_length: Tokens after which a text is cut; by default as many as the base reads.
        near: Overlap, from 0 to 1, of their character n-grams from which on two texts are near-duplicates.
        near_limit: Different texts compared for near-duplicates at most, some 700 bytes of memory each and 8 seconds
            for 100,000 of them; of more, texts of data are drawn by the seed.
        token_limit: Different texts tokenised at most; of more, as many are drawn by the seed.
        examples: Examples shown of each finding.
        seed: Of what is drawn.
        json: Print JSON instead of text.
        report: A page to write besides, one HTML file such as audit.html, with plots and the examples in full.
    """

    data: str
    against: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    base: str | None = None
    max_length: int | None = None
    near: float = 0.8
    near_limit: int = 500_000
    token_limit: int = 50_000
    examples: int = 3
    seed: int = 42
    json: bool = False
    report: str | None = None

    def check(self, problems: Problems) -> None:
        """Note every value that is out of range."""
        for name, least in (("max_length", 1), ("near_limit", 2), ("token_limit", 1), ("examples", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                problems.add(f"--{name.replace('_', '-')} is {value}, expected at least {least}")
        if not 0.5 <= self.near <= 1:
            problems.add(f"--near is {self.near}, expected an overlap between 0.5 and 1")
        if self.report is not None and (not self.report or os.path.isdir(self.report)):
            problems.add(f"--report {self.report}: this is a folder; expected the name of a page, such as audit.html")
        elif self.report is not None and os.path.abspath(self.report) in map(os.path.abspath, self._files()):
            problems.add(f"--report {self.report}: this is the table itself, expected the name of a page")
        if self.against == self.data:
            problems.add(f"--against {self.against}: this is the table itself, expected another one")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return asdict(self)

    def _files(self) -> list[str]:
        return [self.data] if self.against is None else [self.data, self.against]
