"""Models as ONNX files in the layout that sentence-transformers reads, and the same with whole numbers as weights."""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from embedtrain.errors import UserError
from embedtrain.files import read_json, write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

ONNX_FILE = "onnx/model.onnx"
INT8_FILE = "onnx/model_qint8.onnx"
OUTPUT = "last_hidden_state"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# Where a file would pass the 2 GB that its format can hold, weights go beside it.
LARGEST_FILE_BYTES = 1_900_000_000
_EXAMPLES = ("A first sentence.", "A second and somewhat longer sentence.")


def missing_packages() -> list[str]:
    """What of the extra ``onnx`` is not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def save_as_onnx(model: "SentenceTransformer", folder: Path) -> int:
    """Write a model with its encoder as ``onnx/model.onnx`` in place of PyTorch's weights.

    Beside it stands what the encoder needs around it: tokenizer, pooling, normalisation, prompts. The modules go by the
    names that every version of sentence-transformers knows. The graph gives the last hidden state of any number of
    texts of any length.

    Args:
        model: With a text encoder as its first module, on the CPU, in fp32.
        folder: An empty one.

    Returns:
        Bytes of the PyTorch weights that the file stands for.

    Raises:
        UserError: When the encoder cannot be turned into a graph.
    """
    model.save_pretrained(str(folder), create_model_card=False)
    modules = read_json(folder / "modules.json")
    weights = sorted((folder / modules[0]["path"]).glob("*.safetensors*"))
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    for path in weights:
        path.unlink()
    for module in modules:
        module["type"] = f"sentence_transformers.models.{module['type'].rpartition('.')[2]}"
    write_json(folder / "modules.json", modules)
    (folder / ONNX_FILE).parent.mkdir()
    _export(model, folder / ONNX_FILE, large=size > LARGEST_FILE_BYTES)
    return size


def quantize(source: Path, target: Path, *, large: bool = False) -> None:
    """Write a graph with 8-bit weights; activations are rounded anew for each batch, so that nothing is calibrated.

    Each output channel has its own scale. Weights keep to 7 of the 8 bits: products of full ones overflow on processors
    without VNNI instructions, and one file shall give the same everywhere.

    Args:
        source: The graph in fp32.
        target: The file to write.
        large: Whether weights are to stand beside the graph.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            use_external_data_format=large,
        )


class _Graph(torch.nn.Module):
    """An encoder as a function from tensors to one tensor."""

    def __init__(self, encoder: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self.names = names

    def forward(self, *tensors: Tensor) -> Tensor:
        """Hidden states, (texts, tokens, dim), of the encoder's inputs, each (texts, tokens)."""
        found: Tensor = self.encoder(**dict(zip(self.names, tensors, strict=True)), return_dict=True)[OUTPUT]
        return found


def _export(model: "SentenceTransformer", target: Path, *, large: bool) -> None:
    features = model.preprocess(list(_EXAMPLES))
    given = {name: value for name, value in features.items() if isinstance(value, Tensor) and value.ndim == len("bt")}
    names = list(given)
    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    encoder = model[0].model
    assert isinstance(encoder, torch.nn.Module)
    encoder.eval()
    try:
        with _quiet(), torch.inference_mode(False), torch.no_grad():
            torch.onnx.export(
                _Graph(encoder, names).eval(),
                tuple(given.values()),
                target,
                input_names=names,
                output_names=[OUTPUT],
                dynamic_shapes=(tuple(sizes for _ in names),),
                dynamo=True,
                external_data=large,
                verbose=False,
            )
    except Exception as error:  # The exporter has a type of its own for each of its steps.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{type(encoder).__name__} cannot be written as ONNX: {lines[0]}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    # Operators of torchvision that are not installed, deprecations inside the libraries: nothing a user can act on.
    loggers = [logging.getLogger(), logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def sizes_of(folder: Path, file: str) -> int:
    """Bytes of a graph with the weights beside it."""
    return sum(path.stat().st_size for path in (folder / file).parent.glob(f"{Path(file).name}*"))
