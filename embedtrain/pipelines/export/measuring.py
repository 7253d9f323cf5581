"""What each form of a model is worth: Spearman on scored pairs, likeness of embeddings, sentences a second."""

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from embedtrain.evaluation.statistics import paired_bootstrap_difference
from embedtrain.evaluation.sts import cosine_of_pairs, score_predictions
from embedtrain.pipelines.export.inputs import ExportInputs
from embedtrain.pipelines.export.options import ExportOptions

ORIGINAL = "original"


def measure(
    forms: Mapping[str, SentenceTransformer], inputs: ExportInputs, options: ExportOptions
) -> dict[str, dict[str, Any]]:
    """Figures of each form, the one in PyTorch among them as ``original``.

    Returns:
        By form: ``sentences_per_second``, the median of rounds in turns; ``cosine`` and ``lowest_cosine`` with the
        original's embeddings of the same texts; with scored pairs ``spearman``, ``ci95`` and, but for the original,
        ``difference`` and ``difference_ci95`` to it. Correlations are fractions.
    """
    texts = inputs.texts[: options.sentences]
    found: dict[str, dict[str, Any]] = {name: {} for name in forms}
    embeddings = {name: _encoded(model, texts, options.batch_size) for name, model in forms.items()}  # warms up, too
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(options.rounds):
        for name, model in forms.items():
            started = time.perf_counter()
            _encoded(model, texts, options.batch_size)
            seconds[name].append(time.perf_counter() - started)
    for name in forms:
        alike = np.einsum("td,td->t", _unit(embeddings[name]), _unit(embeddings[ORIGINAL]))
        found[name]["sentences_per_second"] = len(texts) / statistics.median(seconds[name])
        found[name]["cosine"] = float(alike.mean())
        found[name]["lowest_cosine"] = float(alike.min())
    if inputs.pairs is not None:
        _add_correlations(found, forms, inputs, options)
    return found


def _add_correlations(
    found: dict[str, dict[str, Any]],
    forms: Mapping[str, SentenceTransformer],
    inputs: ExportInputs,
    options: ExportOptions,
) -> None:
    assert inputs.pairs is not None
    first, second, gold = (inputs.pairs[name].tolist() for name in ("sentence1", "sentence2", "score"))
    drawing: dict[str, Any] = {"samples": options.bootstrap_samples, "seed": options.seed}
    predicted = {
        name: cosine_of_pairs(model, first, second, batch_size=options.batch_size) for name, model in forms.items()
    }
    for name, cosines in predicted.items():
        scores = score_predictions(cosines, gold, **drawing)
        found[name] |= {"spearman": scores["spearman"], "ci95": scores["ci95"]}
        if name != ORIGINAL:
            apart = paired_bootstrap_difference(cosines, predicted[ORIGINAL], gold, **drawing)
            found[name] |= {"difference": apart.value, "difference_ci95": [apart.low, apart.high]}


def _encoded(model: SentenceTransformer, texts: list[str], batch_size: int) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(model.encode(texts, batch_size=batch_size, show_progress_bar=False), dtype=np.float64)


def _unit(embeddings: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)
