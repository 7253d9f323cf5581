"""What the files of a model's folder say about it."""

from dataclasses import dataclass
from pathlib import Path

from embedtrain.report import markdown as md
from embedtrain.report import wording
from embedtrain.report.reading import RunFiles, mapping

# The prompts that ``encode_query`` and ``encode_document`` look for, by their names in a model's settings.
_ROLES = ("query", "document")
# Tokenizers without a limit of their own say so by a number that no text reaches.
_NO_LIMIT = 10**7


@dataclass(frozen=True)
class ModelFacts:
    """What a card tells of a model.

    Attributes:
        dimensions: Of its embeddings, or None where the files do not say.
        max_length: Tokens that it reads of a text, or None without a limit.
        similarity: What its embeddings are compared by, as Markdown.
        has_roles: Whether it puts another prompt before queries or documents than before any text.
    """

    dimensions: int | None
    max_length: int | None
    similarity: str
    has_roles: bool

    @classmethod
    def of(cls, model: Path) -> "ModelFacts":
        """Read a model's folder; what is not in it is not known."""
        files = RunFiles(model)
        pooling = files.json("1_Pooling/config.json")
        dimensions = pooling.get("embedding_dimension") or pooling.get("word_embedding_dimension")
        length = files.json("sentence_bert_config.json").get("max_seq_length")
        length = length or files.json("tokenizer_config.json").get("model_max_length")
        settings = files.json("config_sentence_transformers.json")
        similarity = settings.get("similarity_fn_name") or "cosine"
        prompts = mapping(settings.get("prompts"))
        default = prompts.get(settings.get("default_prompt_name") or "") or ""
        has_roles = any((prompts.get(role) or "") != default for role in _ROLES)
        reads = int(length) if wording.is_number(length) and length < _NO_LIMIT else None
        return cls(dimensions if isinstance(dimensions, int) else None, reads, md.inline(similarity), has_roles)


def example_of_use(location: str, first: str, second: str, *, has_roles: bool) -> str:
    """Python code that compares two texts by a model.

    Args:
        location: The model's folder.
        first: A text.
        second: Another one.
        has_roles: Whether the first is to be encoded as a query and the second as a document.
    """
    load = f"from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer({location!r})\n"
    if has_roles:
        return (
            f"{load}queries = model.encode_query([{first!r}])\n"
            f"documents = model.encode_document([{second!r}])\n"
            "print(model.similarity(queries, documents))\n"
        )
    return (
        f"{load}embeddings = model.encode([\n    {first!r},\n    {second!r},\n])\n"
        "print(model.similarity(embeddings, embeddings))\n"
    )
