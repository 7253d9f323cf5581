"""Exported models at work: an encoder that ONNX Runtime computes, inside sentence-transformers' own modules."""

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.util import import_from_string
from torch import Tensor
from transformers import PretrainedConfig
from transformers.modeling_outputs import BaseModelOutput

from embedtrain.errors import UserError
from embedtrain.files import read_json
from embedtrain.models.onnx_files import ONNX_FILE, OUTPUT, missing_packages

_KEPT_SETTINGS = ("prompts", "default_prompt_name", "similarity_fn_name")


class OnnxEncoder(torch.nn.Module):
    """Takes the place of a transformers encoder.

    Args:
        file: The graph.
        config: Of the encoder that it was made from.
        threads: Threads of one product; by default as many as PyTorch uses.
    """

    def __init__(self, file: Path, config: PretrainedConfig, *, threads: int | None = None) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        self.config = config
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.names = [given.name for given in self.session.get_inputs()]

    def forward(self, **features: Any) -> BaseModelOutput:
        """Hidden states of tokenised texts; ``input_ids``, ``attention_mask``, ... are each (texts, tokens)."""
        given = {name: features[name].cpu().numpy() for name in self.names}
        hidden: Tensor = torch.from_numpy(self.session.run([OUTPUT], given)[0])
        return BaseModelOutput(last_hidden_state=hidden)


class OnnxTransformer(Transformer):
    """sentence-transformers' first module, with its tokenizer, around an :class:`OnnxEncoder`."""

    def _load_model(
        self, model_name_or_path: str, transformer_task: Any, config: PretrainedConfig, *_: Any, **given: Any
    ) -> Any:
        return OnnxEncoder(Path(model_name_or_path) / given.get("file_name", ONNX_FILE), config)


def load_onnx(folder: str | Path, *, file: str = ONNX_FILE) -> SentenceTransformer:
    """Load what ``embedtrain export`` wrote; ``encode`` then computes with ONNX Runtime on the CPU.

    This is what ``SentenceTransformer(folder, backend="onnx")`` does, without needing ``optimum-onnx``.

    Args:
        folder: An export.
        file: The graph in it: ``onnx/model.onnx``, or ``onnx/model_qint8.onnx`` for the smaller one.

    Raises:
        UserError: The folder holds no such file, or a package of the extra ``onnx`` is missing.
    """
    folder = Path(folder)
    if "onnxruntime" in missing_packages():
        raise UserError("ONNX models need onnxruntime, which is not installed: pip install 'embedtrain[onnx]'")
    for needed in (file, "modules.json"):
        if not (folder / needed).is_file():
            raise UserError(f"{folder}: no {needed} in it; expected a folder that embedtrain export wrote")
    first, *others = read_json(folder / "modules.json")
    modules: list[torch.nn.Module] = [
        OnnxTransformer.load(str(folder), subfolder=first["path"], model_kwargs={"file_name": file})
    ]
    modules += [_kind_of(module["type"]).load(str(folder), subfolder=module["path"]) for module in others]
    path = folder / "config_sentence_transformers.json"
    settings = read_json(path) if path.is_file() else {}
    kept = {name: settings[name] for name in _KEPT_SETTINGS if settings.get(name) is not None}
    return SentenceTransformer(modules=modules, device="cpu", **kept)


def _kind_of(name: str) -> Any:
    return import_from_string(name)
