"""A model exported: its files, what each form of it reaches and how fast, and a card that says so."""

import importlib.metadata
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import embedtrain
from embedtrain.files import whole_folder, write_json, write_text
from embedtrain.libraries import quiet_libraries
from embedtrain.models import load_biencoder
from embedtrain.models.onnx_files import (
    INT8_FILE,
    LARGEST_FILE_BYTES,
    ONNX_FILE,
    PACKAGES,
    quantize,
    save_as_onnx,
    sizes_of,
)
from embedtrain.pipelines.export.inputs import collect_export_inputs
from embedtrain.pipelines.export.measuring import ORIGINAL, measure
from embedtrain.pipelines.export.options import ExportOptions
from embedtrain.pipelines.wording import aligned, points

logger = logging.getLogger(__name__)

CARD = "README.md"
RECORD = "export.json"
NAMES = {ORIGINAL: "PyTorch", "onnx": "ONNX", "int8": "ONNX, int8"}
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class ExportResult:
    """What was written: ``figures`` is the content of ``export.json``."""

    figures: dict[str, Any]
    folder: Path


def export(options: ExportOptions) -> ExportResult:
    """Write a model as ONNX and measure it against the original, on the CPU; the folder appears whole.

    Raises:
        UserError: With every mistake in options, files and names before the model is loaded; or its encoder cannot be
            turned into a graph.
    """
    from embedtrain.models.onnx_loading import load_onnx

    inputs = collect_export_inputs(options)
    output = Path(options.output).expanduser()
    with quiet_libraries():
        model = load_biencoder(inputs.source, device="cpu").float()
    files = {"onnx": ONNX_FILE, **({"int8": INT8_FILE} if options.int8 else {})}
    with quiet_libraries(), whole_folder(output) as folder:
        logger.info("writing %s", ONNX_FILE)
        sizes = {ORIGINAL: save_as_onnx(model, folder)}
        if options.int8:
            logger.info("writing %s", INT8_FILE)
            quantize(folder / ONNX_FILE, folder / INT8_FILE, large=sizes[ORIGINAL] > LARGEST_FILE_BYTES)
        sizes |= {name: sizes_of(folder, file) for name, file in files.items()}
        logger.info("measuring on %s", inputs.measured_on)
        forms = {ORIGINAL: model, **{name: load_onnx(folder, file=file) for name, file in files.items()}}
        measured = measure(forms, inputs, options)
        figures = {
            "model": inputs.source.name if inputs.source.kind != "folder" else Path(inputs.source.name).name,
            "measured_on": inputs.measured_on,
            "texts_timed": min(len(inputs.texts), options.sentences),
            "rounds": options.rounds,
            "batch_size": options.batch_size,
            "threads": torch.get_num_threads(),
            "forms": {
                name: {"file": files.get(name), "bytes": sizes[name], **found} for name, found in measured.items()
            },
            "packages": {name: importlib.metadata.version(name) for name in ("torch", *PACKAGES)},
            "embedtrain": embedtrain.__version__,
        }
        write_json(folder / RECORD, figures)
        write_text(folder / CARD, _card(Path(inputs.source.location) / CARD, figures))
    return ExportResult(figures, output)


def export_table(figures: Mapping[str, Any]) -> str:
    """The forms beside each other, for a terminal."""
    forms = figures["forms"]
    scored = "spearman" in forms[ORIGINAL]
    rows = [["", *(["Spearman x 100", "95 % interval", "against PyTorch"] if scored else []),
             "mean cosine", "sentences/s", "MB"]]  # fmt: skip
    for name, found in forms.items():
        row = [NAMES[name]]
        if scored:
            low, high = found["ci95"]
            row += [points(found["spearman"]), f"{points(low)} ... {points(high)}", _against(found)]
        row += [f"{found['cosine']:.4f}", f"{found['sentences_per_second']:,.0f}", f"{found['bytes'] / MEGABYTE:,.1f}"]
        rows.append(row)
    said = (
        f"measured on {figures['measured_on']}; speed: {figures['texts_timed']:,} sentences, median of "
        f"{figures['rounds']} rounds in turns, {figures['threads']} thread{'s' if figures['threads'] > 1 else ''}"
    )
    return "\n".join([*aligned(rows), said])


def _against(found: Mapping[str, Any]) -> str:
    if "difference" not in found:
        return ""
    low, high = found["difference_ci95"]
    return f"{100 * found['difference']:+.2f} ({100 * low:+.2f} ... {100 * high:+.2f})"


def _card(source: Path, figures: Mapping[str, Any]) -> str:
    """The model's own card, where it has one, with what the export changes."""
    own = source.read_text(encoding="utf-8").rstrip() + "\n\n" if source.is_file() else _FRONT_MATTER
    return (
        f"{own}## ONNX\n\nThis folder holds the encoder as ONNX in place of PyTorch's weights. It loads with "
        '`SentenceTransformer(folder, backend="onnx")` (packages: `sentence-transformers[onnx]`), or with '
        "`embedtrain.models.onnx_loading.load_onnx(folder)`.\n\n"
        f"```text\n{export_table(figures)}\n```\n"
    )


_FRONT_MATTER = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- sentence-similarity
- feature-extraction
- onnx
---

"""
