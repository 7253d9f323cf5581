"""Trained models that label: what their files say they are, how they are loaded, and how their scores become one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from embedtrain.errors import UserError
from embedtrain.files import read_json, sha256_of_value
from embedtrain.mining.calibration import Calibration
from embedtrain.mining.combining import Combination, Method
from embedtrain.mining.strict_calibration import PAIRS_FOR_ISOTONIC
from embedtrain.mining.teachers import BiEncoderScorer, CrossEncoderScorer, Floats, Scorer
from embedtrain.models import ModelSource, load_biencoder, load_crossencoder, resolve_model

TeacherKind = Literal["cross-encoder", "bi-encoder"]
CLASSIFIER = "ForSequenceClassification"
# What a cosine below 0 becomes: labels are scores from 0 to 1.
CUT_AT_0_AND_1 = Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


@dataclass(frozen=True)
class Teacher:
    """A model that labels, as its files describe it.

    Attributes:
        source: Where it is.
        kind: What it is.
        has_sigmoid: Whether its own files ask for a sigmoid on its output; a bi-encoder's never do.
    """

    source: ModelSource
    kind: TeacherKind
    has_sigmoid: bool

    @property
    def name(self) -> str:
        """As it was asked for."""
        return self.source.name


@dataclass(frozen=True)
class Scoring:
    """How teachers are asked, apart from which they are; picklable, for workers elsewhere.

    Attributes:
        device: Where they compute.
        precision: ``bf16`` (autocast) or another.
        one_order: Whether a cross-encoder sees a pair in the given order alone.
        sigmoid: Whether a cross-encoder gets a sigmoid that its files do not ask for.
    """

    device: str
    precision: str
    one_order: bool
    sigmoid: bool

    def fingerprint(self, teacher: Teacher) -> str:
        """Hash of everything that a teacher's scores depend on."""
        how: dict[str, Any] = {"device": self.device, "precision": self.precision}
        if teacher.kind == "cross-encoder":
            how |= {"one_order": self.one_order, "sigmoid": teacher.has_sigmoid or self.sigmoid}
        return sha256_of_value({"model": teacher.source.fingerprint, "kind": teacher.kind, **how})

    def load(self, teacher: Teacher) -> Scorer:
        """The teacher, ready to score.

        Raises:
            UserError: No model can be made of its files.
        """
        dtype = torch.bfloat16 if self.precision == "bf16" else None
        fingerprint = self.fingerprint(teacher)
        if teacher.kind == "bi-encoder":
            return BiEncoderScorer(load_biencoder(teacher.source, device=self.device), fingerprint, dtype=dtype)
        model = load_crossencoder(teacher.source, device=self.device)
        if not (teacher.has_sigmoid or self.sigmoid):
            model.activation_fn = torch.nn.Identity()
        return CrossEncoderScorer(model, fingerprint, both_orders=not self.one_order, dtype=dtype)


class LazyScorer:
    """A scorer that is loaded when it is first asked.

    Args:
        load: Makes the scorer.
        fingerprint: What its fingerprint will be.
    """

    def __init__(self, load: Callable[[], Scorer], *, fingerprint: str) -> None:
        self.load = load
        self.fingerprint = fingerprint
        self.loaded: Scorer | None = None

    def score(self, sentence1: Sequence[str], sentence2: Sequence[str]) -> Floats:
        """The score of each pair, float32 (n,)."""
        if self.loaded is None:
            self.loaded = self.load()
        return self.loaded.score(sentence1, sentence2)


def load_together(teachers: Sequence[Teacher], scoring: Scoring, combination: Combination) -> Scorer:
    """All teachers as one scorer."""
    return combination.scorer([scoring.load(teacher) for teacher in teachers])


def uncalibrated(teachers: Sequence[Teacher]) -> Combination:
    """The mean of the teachers' scores as they are, but for cosines, which are cut at 0 and 1."""
    return Combination(tuple(CUT_AT_0_AND_1 if teacher.kind == "bi-encoder" else None for teacher in teachers))


def calibration_method(dev_pairs: int) -> Method:
    """How scores are brought onto gold's scale with so many dev pairs to learn it from; either keeps their order."""
    return "centred" if dev_pairs >= PAIRS_FOR_ISOTONIC else "logistic"


def read_teacher(name: str) -> Teacher:
    """Find a model and read from its files what it is; it is not loaded.

    Raises:
        UserError: It is nowhere, has several outputs, or expects more than two plain texts.
    """
    source = resolve_model(name)
    folder = Path(source.location)
    kind = kind_of(folder)
    if kind == "bi-encoder":
        return Teacher(source, kind, has_sigmoid=False)
    config, own = _config_of(folder), _read(folder / "config_sentence_transformers.json")
    outputs, labels = _outputs_of(folder, config)
    if outputs != 1:
        named = f" ({', '.join(labels)})" if labels else ""
        raise UserError(
            f"--teacher {name}: a classifier with {outputs} outputs{named}, expected a cross-encoder with one output, "
            "the score of a pair"
        )
    if own.get("default_prompt_name"):
        raise UserError(
            f"--teacher {name}: it puts the prompt '{own['default_prompt_name']}' before its texts, expected a "
            "cross-encoder that takes plain pairs"
        )
    return Teacher(source, kind, has_sigmoid=_activation_of(config, own).endswith("Sigmoid"))


def kind_of(folder: Path) -> TeacherKind:
    """What a model's files say it is."""
    if (folder / "modules.json").is_file():
        kind = _read(folder / "config_sentence_transformers.json").get("model_type")
        return "cross-encoder" if kind == "CrossEncoder" else "bi-encoder"
    architectures = _read(folder / "config.json").get("architectures") or []
    return "cross-encoder" if any(name.endswith(CLASSIFIER) for name in architectures) else "bi-encoder"


def _config_of(folder: Path) -> dict[str, Any]:
    """The configuration of the transformer."""
    for module in _modules(folder):
        config = _read(folder / module.get("path", "") / "config.json")
        if "model_type" in config:
            return config
    return _read(folder / "config.json")


def _outputs_of(folder: Path, config: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many outputs the model has, and their names where they have some."""
    modules = _modules(folder)
    if modules and not modules[-1].get("type", "").endswith("Transformer"):
        last = _read(folder / modules[-1].get("path", "") / "config.json")
        # A layer that reads a score from a language model's output has one.
        return int(last.get("out_features", 1)), []
    labels = list((config.get("id2label") or {}).values())
    # transformers leaves two outputs unsaid.
    return int(config.get("num_labels") or len(labels) or 2), labels


def _activation_of(config: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    stated = (config.get("sentence_transformers") or {}).get("activation_fn")
    return own.get("activation_fn") or stated or config.get("sbert_ce_default_activation_function") or "Sigmoid"


def _modules(folder: Path) -> list[dict[str, Any]]:
    file = folder / "modules.json"
    return read_json(file) if file.is_file() else []


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
