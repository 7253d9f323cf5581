"""What the files of a model's folder say about it."""

from dataclasses import dataclass
from pathlib import Path

from embedtrain.report import markdown as md
from embedtrain.report import wording
from embedtrain.report.reading import RunFiles

# Tokenizers without a limit of their own say so by a number that no text reaches.
_NO_LIMIT = 10**7


@dataclass(frozen=True)
class ModelFacts:
    """What a card tells of a model.

    Attributes:
        dimensions: Of its embeddings, or None where the files do not say.
        max_length: Tokens that it reads of a text, or None without a limit.
        similarity: What its embeddings are compared by, as Markdown.
    """

    dimensions: int | None
    max_length: int | None
    similarity: str

    @classmethod
    def of(cls, model: Path) -> "ModelFacts":
        """Read a model's folder; what is not in it is not known."""
        files = RunFiles(model)
        pooling = files.json("1_Pooling/config.json")
        dimensions = pooling.get("embedding_dimension") or pooling.get("word_embedding_dimension")
        length = files.json("sentence_bert_config.json").get("max_seq_length")
        length = length or files.json("tokenizer_config.json").get("model_max_length")
        similarity = files.json("config_sentence_transformers.json").get("similarity_fn_name") or "cosine"
        reads = int(length) if wording.is_number(length) and length < _NO_LIMIT else None
        return cls(dimensions if isinstance(dimensions, int) else None, reads, md.inline(similarity))
