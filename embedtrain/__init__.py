"""embedtrain: from a few labelled sentence pairs, or none, to a better embedding model with the proof beside it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedtrain.api import adapt, augsbert, compare, evaluate, label, mine, train, tsdae

__all__ = ["adapt", "augsbert", "compare", "evaluate", "label", "mine", "train", "tsdae"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # The commands bring torch and more with them; whoever wants a version or a loss shall not wait for that.
    if name in __all__:
        from embedtrain import api

        return getattr(api, name)
    raise AttributeError(f"module 'embedtrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
