"""A model as mteb calls it, with its meta data, a cache of embeddings, and the project's own precision."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mteb.models import ModelMeta, SentenceTransformerEncoderWrapper
from mteb.models.abs_encoder import get_prompt_name
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from embedtrain.evaluation.mteb.batches import default_token_budget, quick, token_batches, token_lengths
from embedtrain.evaluation.mteb.embedding_cache import EmbeddingCache, Floats
from embedtrain.evaluation.mteb.offline import quiet_libraries
from embedtrain.models import ModelSource, autocast

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_COMMIT = re.compile(r"[0-9a-f]{40}")
# Folders that runs call their models' last part by.
_NAMELESS = {"model", "models", "st", "final", "checkpoint"}


class LocalEncoder(SentenceTransformerEncoderWrapper):
    """A SentenceTransformer that computes each text once, whatever tasks it stands in.

    Prompts are chosen by mteb's rules. Texts are encoded in batches of like length, without padding or, on a CPU in
    bf16, by fused layers.

    Args:
        model: The model, on its device.
        meta: What result files say about it.
        cache: Its embeddings.
        precision: Of matrix products, ``fp32``, ``tf32`` or ``bf16``.
        batch_size: Texts encoded at a time; by default as many as a like number of tokens has.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        meta: ModelMeta,
        cache: EmbeddingCache,
        precision: str,
        batch_size: int | None = None,
    ) -> None:
        with quiet_libraries():
            super().__init__(model)
        self.mteb_model_meta = meta
        self.cache = cache
        self.precision = precision
        self.batch_size = batch_size
        self.token_budget = default_token_budget(self.model.device.type)
        self._is_working = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Prepare the model once for all that is encoded while the context lasts; nobody else may use it meanwhile."""
        if self._is_working:
            yield
            return
        with quick(self.model, precision=self.precision, token_budget=self.token_budget):
            self._is_working = True
            try:
                yield
            finally:
                self._is_working = False

    def encode(
        self,
        inputs: DataLoader[Any],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Floats:
        """As mteb's wrapper does, for the texts that are not in the cache yet; float32 (texts, dim)."""
        texts = [text for batch in inputs for text in batch["text"]]
        of_task = {"task_metadata": task_metadata, "hf_split": hf_split, "hf_subset": hf_subset}
        compute = partial(self.compute, prompt_type=prompt_type, **of_task)
        return self.cache.embeddings(texts, compute, context=self._context(task_metadata, prompt_type))

    def compute(self, texts: list[str], *, task_metadata: Any, prompt_type: Any = None, **of_task: Any) -> Floats:
        """Embeddings of one text or more, whatever the cache holds; float32 (texts, dim)."""
        made: Floats | None = None
        with self.working(), autocast(self.model.device.type, self.precision):
            for places in self._batches(texts, self._prompt(task_metadata, prompt_type)):
                batch = DataLoader(_Texts([texts[place] for place in places]), batch_size=len(places))
                some = super().encode(
                    batch,
                    task_metadata=task_metadata,
                    prompt_type=prompt_type,
                    batch_size=len(places),
                    show_progress_bar=False,
                    **of_task,
                )
                if made is None:
                    made = np.empty((len(texts), some.shape[1]), dtype=np.float32)
                made[places] = some
        assert made is not None
        return made

    def _batches(self, texts: list[str], prompt: str) -> Iterator[NDArray[np.int64]]:
        lengths = token_lengths(self.model, texts, prompt=prompt)
        if self.batch_size is None:
            return token_batches(lengths, budget=self.token_budget)
        order = np.argsort(-lengths, kind="stable")
        return iter(np.split(order, range(self.batch_size, len(order), self.batch_size)))

    def _prompt(self, task_metadata: Any, prompt_type: Any) -> str:
        """What mteb puts before each text."""
        prompts = self.model_prompts or {}
        name = get_prompt_name(prompts, task_metadata, prompt_type)
        return (prompts.get(name) or "") if name else ""

    def _context(self, task_metadata: Any, prompt_type: Any) -> str:
        """What an embedding depends on besides the text: the prompt, and the route of a model with several."""
        prompts = self.model_prompts or {}
        has_routes = any(type(module).__name__ == "Router" for module in self.model.modules())
        if not has_routes and not any((self.model.prompts or {}).values()) and not any(prompts.values()):
            return ""
        name = get_prompt_name(prompts, task_metadata, prompt_type)
        return f"{getattr(prompt_type, 'value', prompt_type)}\0{prompts.get(name) if name else None}"


class _Texts(Dataset[Any]):
    """What a loader needs of a data set: texts, their number, and the names of columns."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.features = {"text": "string"}

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, at: int) -> dict[str, str]:
        return {"text": self.texts[at]}


def model_name(source: ModelSource) -> str:
    """The name that result files are kept under, ``organisation/model``; a folder's is ``local/`` and its own name."""
    if source.kind != "folder":
        return source.name if "/" in source.name else f"sentence-transformers/{source.name}"
    parts = [part for part in Path(source.location).parts if part.strip("/\\")]
    while len(parts) > 1 and parts[-1] in _NAMELESS:
        parts.pop()
    return f"local/{parts[-1]}"


def model_revision(source: ModelSource) -> str:
    """Forty hex digits that change when the model does: the hub's commit, or a hash of weights and configurations."""
    commit = Path(source.location).name
    if source.kind == "hub cache" and _COMMIT.fullmatch(commit):
        return commit
    return hashlib.sha256(source.fingerprint.encode()).hexdigest()[:40]


def bare_meta(source: ModelSource, *, precision: str) -> ModelMeta:
    """As much of the meta data as tells where results are kept; no model is loaded for it."""
    own: dict[str, Any] = {"name": model_name(source), "revision": model_revision(source)}
    if precision != "fp32":
        own["experiment_kwargs"] = {"precision": precision}
    return ModelMeta.create_empty(overwrites=own)


def model_meta(source: ModelSource, model: SentenceTransformer, *, precision: str) -> ModelMeta:
    """What mteb knows of the model, or else what the model itself tells; nothing is asked of the hub.

    Results of another precision than fp32 are kept apart from it, as mteb keeps experiments.
    """
    from mteb.models.model_implementations import MODEL_REGISTRY

    bare = bare_meta(source, precision=precision)
    name = str(bare.name)
    with quiet_libraries():
        known = MODEL_REGISTRY.get(name) if source.kind != "folder" else None
        meta = known or ModelMeta.from_sentence_transformer_model(model)
    own: dict[str, Any] = {field: getattr(bare, field) for field in ("name", "revision", "experiment_kwargs")}
    if known is None:
        own["n_parameters"] = sum(parameter.numel() for parameter in model.parameters())
    return meta.model_copy(update=own)
