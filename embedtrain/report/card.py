"""A model card: what a model was made of and how, what it was measured at, and what nobody measured."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from embedtrain.report import markdown as md
from embedtrain.report import wording
from embedtrain.report.kinds import command_of, model_name
from embedtrain.report.model_facts import ModelFacts, example_of_use
from embedtrain.report.reading import RunFiles, bounds, entries, mapping, number

METHODS = {
    "augsbert": ("Augmented SBERT", "https://arxiv.org/abs/2010.08240"),
    "train": ("training on tables of texts", "https://arxiv.org/abs/1908.10084"),
    "tsdae": ("TSDAE", "https://arxiv.org/abs/2104.06979"),
    "adapt": ("domain adaptation", "https://arxiv.org/abs/2104.06979"),
}
# Settings that say where something lay and where it ran, not what was done.
_NOT_THE_RECIPE = ("output", "device", "report_to", "save_every", "command")
# A column may be called a/b.
_NO_PATHS = ("columns",)
_SPLITS = ("test", "dev")


def model_card(run: Path, model: Path) -> str:
    """The card of a run's model, in Markdown with the front matter that the hub reads.

    Written from ``config.yaml``, ``manifest.json`` (its ``files`` and ``scripts`` too), ``metrics.json`` and the audit;
    the same run gives the same card. Of files on the user's machine only names are told.

    Args:
        run: Folder of a run that came to its end.
        model: The folder that the card describes.
    """
    return _Card(run, model).text()


class _Card:
    def __init__(self, run: Path, model: Path) -> None:
        files = RunFiles(run)
        self.config = files.yaml("config.yaml")
        self.manifest = files.json("manifest.json")
        self.metrics = files.json("metrics.json")
        self.audit = files.json("stages/read/audit.json")
        self.command = command_of(self.config, self.metrics) or "train"
        self.model = ModelFacts.of(model)
        self.base = mapping(mapping(self.manifest.get("models")).get("base"))

    def text(self) -> str:
        parts = [
            self._front_matter(), self._head(), self._use(), self._data(), self._recipe(), self._scores(),
            self._limits(), self._licence(), self._end(),
        ]  # fmt: skip
        return "\n\n".join(parts) + "\n"

    def _front_matter(self) -> str:
        losses = mapping(self.manifest.get("losses")).values()
        tags = ["sentence-transformers", "sentence-similarity", "feature-extraction", "embedtrain", self.command]
        tags += sorted({f"loss:{loss}" for loss in losses})
        front: dict[str, Any] = {
            "library_name": "sentence-transformers",
            "pipeline_tag": "sentence-similarity",
            "tags": tags,
        }
        if self._base_on_hub():
            front["base_model"] = self._base_on_hub()
        said = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
        return f"---\n{said}# license: yours to choose, see Licence below\n---"

    def _base_on_hub(self) -> str | None:
        name = str(self.base.get("name", ""))
        if self.base.get("kind") == "folder" or not md.HUB_NAME.fullmatch(name):
            return None
        return name if "/" in name else f"sentence-transformers/{name}"

    def _base_name(self) -> str:
        name = str(self.base.get("name", "a base model"))
        # A run keeps its model in a folder of that name, which tells nothing.
        return self._base_on_hub() or re.split(r"[/\\]", re.sub(r"([/\\]model)?[/\\]*$", "", name))[-1]

    def _head(self) -> str:
        method, paper = METHODS.get(self.command, METHODS["train"])
        sizes = f" of {self.model.dimensions} numbers" if self.model.dimensions else ""
        kept_base = self.metrics.get("winner") == "zero_shot"
        nothing = " No training did better on dev, so that this is the base as it came." if kept_base else ""
        return (
            f"# {md.inline(self._base_name())}, after {method}\n\n"
            f"This model turns sentences into vectors{sizes} whose {self.model.similarity} similarity says how near "
            f"they are in meaning. It comes from {md.code(self._base_name())} by [{method}]({paper}); "
            f"what was kept is: {self._kept()}.{nothing}"
        )

    def _kept(self) -> str:
        return self._name_of(str(self.metrics.get("winner") or "trained"))

    def _name_of(self, model: str) -> str:
        return md.inline(model_name(self.command, model))

    def _use(self) -> str:
        has_roles = self.model.has_roles
        first, second = ("A question?", "What answers it.") if has_roles else ("A first sentence.", "A second one.")
        code = example_of_use("path/to/this/folder", first, second, has_roles=has_roles)
        return f"## Use\n\nIt loads with plain [sentence-transformers](https://sbert.net).\n\n```python\n{code}```"

    def _data(self) -> str:
        files = entries(self.manifest.get("files"))
        tables = {name: mapping(rows) for name, rows in mapping(self.audit.get("tables")).items()}
        rows = [
            (md.inline(file.get("role", "")), md.code(file.get("name", "")), md.code(file.get("sha256", "")[:16]))
            for file in files
        ]
        said = ["## Data"]
        if rows:
            said.append(md.table(("used as", "file", "SHA-256 begins"), rows))
        counted = [
            (
                md.code(md.name_only(name)),
                wording.count(number(found.get("rows_read"))),
                wording.count(number(found.get("rows_kept"))),
            )
            for name, found in tables.items()
        ]
        if counted:
            said.append(md.table(("table", "rows read", "rows kept"), counted))
        for finding in entries(self.audit.get("findings")):
            dropped = number(finding.get("dropped"))
            if dropped:
                what = str(finding.get("kind", "")).replace("_", " ")
                table = md.code(md.name_only(finding.get("table", "")))
                noun = "row" if dropped == 1 else "rows"
                said.append(f"- {wording.count(dropped)} {noun} dropped from {table}: {md.inline(what)}")
        return md.spaced(said)

    def _recipe(self) -> str:
        settings = {
            name: value if name in _NO_PATHS else md.without_paths(value)
            for name, value in self.config.items()
            if name not in _NOT_THE_RECIPE and value not in (None, [], {}, "")
        }
        versions = ", ".join(f"{name} {version}" for name, version in mapping(self.manifest.get("packages")).items())
        choices = [
            f"- {what}: {md.inline(mapping(self.manifest.get(what)).get('name'))}"
            for what in ("device", "precision")
            if mapping(self.manifest.get(what))
        ]
        losses = mapping(self.manifest.get("losses"))
        said = [
            "## Recipe",
            f"The command was `embedtrain {self.command} --config config.yaml`, with the settings below.",
            "\n".join(
                [
                    f"- base: {md.code(self._base_name())}",
                    *(f"- loss on {md.code(md.name_only(table))}: {md.inline(loss)}" for table, loss in losses.items()),
                    *([f"- loss: {md.inline(self.manifest['loss'])}"] if self.manifest.get("loss") else []),
                    f"- seed: {md.inline(self.manifest.get('seed'))}",
                    *choices,
                    f"- versions: embedtrain {md.inline(self.manifest.get('embedtrain', ''))}, {md.inline(versions)}",
                ]
            ),
            md.fenced(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), "yaml"),
        ]
        return md.spaced(said)

    def _scores(self) -> str:
        measured_by = mapping(self.metrics.get("metrics")) or {s: {"name": "spearman"} for s in _SPLITS}
        models = mapping(self.metrics.get("models"))
        splits = [s for s in _SPLITS if s in measured_by and any(mapping(mapping(m).get(s)) for m in models.values())]
        if not splits:
            return "## Scores\n\nNothing was measured: the run had no pairs with scores or labels."
        labels = {s: str(mapping(measured_by[s]).get("label", "Spearman")) for s in splits}
        rows = []
        for model, found in models.items():
            row = [self._name_of(model) + (" (this model)" if self._name_of(model) == self._kept() else "")]
            for split in splits:
                figures = mapping(mapping(found).get(split))
                score = number(figures.get(str(mapping(measured_by[split]).get("name", "spearman"))))
                row.append(f"{wording.points(score)} {wording.interval(bounds(figures.get('ci95')))}".strip())
            rows.append(row)
        heads = ["model", *(f"{labels[s]} × 100, {s}" for s in splits)]
        said = ["## Scores", "With 95 % bootstrap intervals; all models on the same rows.", md.table(heads, rows)]
        found = entries(self.metrics.get("differences")) or [mapping(self.metrics.get("paired_difference"))]
        said += [self._difference(entry) for entry in found if number(entry.get("difference")) is not None]
        if self.metrics.get("verdict"):
            said.append(md.inline(self.metrics["verdict"], 2000))
        return md.spaced(said)

    def _difference(self, entry: Mapping[str, Any]) -> str:
        first, _, second = str(entry.get("of", "")).partition(" - ")
        return (
            f"- {self._name_of(first)} minus {self._name_of(second)}, on {md.inline(entry.get('split', 'test'))}: "
            f"{wording.points(entry['difference'], plus=True)} points "
            f"{wording.interval(bounds(entry.get('ci95')), decimals=2, plus=True)}"
        )

    def _limits(self) -> str:
        said = []
        scripts = [f"{name} {wording.share(share)}" for name, share in mapping(self.manifest.get("scripts")).items()]
        if scripts:
            said.append(
                f"- Scripts of the texts it was trained on, by text: {', '.join(scripts)}. "
                "Texts in other scripts and languages were not measured."
            )
        said.append(
            "- It has seen texts of the kind that the files above hold. How it does on other subjects, on search, on "
            "clustering or classification is not known from this run."
        )
        if self.model.max_length:
            said.append(f"- Of a longer text it reads the first {self.model.max_length:,} tokens.")
        models = mapping(self.metrics.get("models")).values()
        if not any(mapping(mapping(found).get("test")) for found in models):
            said.append("- There was no test set: what was measured on dev flatters the model, for dev chose it.")
        said.append("- The intervals cover the choice of rows, not the choice of the seed, which alone can be worth a "
                    "point or more.")  # fmt: skip
        said.append("- Whether it treats people or groups unfairly was not looked at.")
        warnings = self.metrics.get("warnings")
        for warning in warnings if isinstance(warnings, list) else []:
            said += [f"- {md.inline(warning, 1000)}"]
        return "\n".join(["## Limits\n", *said])

    def _licence(self) -> str:
        return (
            "## Licence\n\n**To be filled in** by whoever publishes the model, here and as `license:` in the "
            f"first lines of this file. The licences of the base model ({md.code(self._base_name())}) and of the data "
            "bind you."
        )

    def _end(self) -> str:
        return f"*Written by embedtrain {md.inline(self.manifest.get('embedtrain', ''))} from the files of the run.*"
