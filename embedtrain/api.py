"""The commands as functions: the options as keywords, the same files and figures, results as typed values.

Every function takes the fields of its dataclass of options by name, and nothing else. Where the command line takes a
list, one value may stand for a list of one; a group of options, such as ``training``, is a mapping of some of them or
the dataclass itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, overload

from embedtrain.errors import UserError, did_you_mean
from embedtrain.keywords import taking
from embedtrain.pipelines.adapt.options import AdaptOptions, TSDAEOptions
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.compare.options import CompareOptions
from embedtrain.pipelines.evaluate.glue_options import GLUEOptions
from embedtrain.pipelines.evaluate.mteb_options import MTEBOptions
from embedtrain.pipelines.evaluate.options import PairsOptions, RetrievalOptions, STSOptions
from embedtrain.pipelines.label.options import LabelOptions
from embedtrain.pipelines.mine.options import MineOptions
from embedtrain.pipelines.train.options import TrainOptions

if TYPE_CHECKING:
    from embedtrain.pipelines.adapt.pipeline import AdaptResult
    from embedtrain.pipelines.augsbert.pipeline import AugSBERTResult
    from embedtrain.pipelines.evaluate.workspace import Evaluation
    from embedtrain.pipelines.label.result import LabelResult
    from embedtrain.pipelines.mine.pipeline import MineResult
    from embedtrain.pipelines.train.result import TrainResult


@taking(AugSBERTOptions)
def augsbert(options: AugSBERTOptions) -> "AugSBERTResult":
    """Gold pairs and raw sentences to a measured bi-encoder (Augmented SBERT): as ``embedtrain augsbert``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    from embedtrain.pipelines.augsbert.pipeline import augsbert

    return augsbert(options)


@taking(TrainOptions)
def train(options: TrainOptions) -> "TrainResult":
    """Tables of pairs, triplets or labelled sentences to a measured bi-encoder: as ``embedtrain train``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    from embedtrain.pipelines.train.pipeline import train

    return train(options)


@taking(TSDAEOptions)
def tsdae(options: TSDAEOptions) -> "AdaptResult":
    """Raw sentences of a domain to an encoder that knows it (TSDAE): as ``embedtrain tsdae``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    from embedtrain.pipelines.adapt.pipeline import adapt

    return adapt(options)


@taking(AdaptOptions)
def adapt(options: AdaptOptions) -> "AdaptResult":
    """Raw sentences, and gold if there is any: MLM, TSDAE and SimCSE beside each other, as ``embedtrain adapt``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    from embedtrain.pipelines.adapt.pipeline import adapt

    return adapt(options)


@taking(MineOptions)
def mine(options: MineOptions) -> "MineResult":
    """Sentences to pairs worth labelling, hard negatives, or tuples for ranking losses: as ``embedtrain mine``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    from embedtrain.pipelines.mine.pipeline import mine

    return mine(options)


@taking(LabelOptions)
def label(options: LabelOptions) -> "LabelResult":
    """Pairs of any number to scores from trained models: as ``embedtrain label``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    from embedtrain.pipelines.label.pipeline import label

    return label(options)


@taking(CompareOptions)
def compare(options: CompareOptions) -> "Evaluation":
    """Models and runs beside each other on the same rows: as ``embedtrain compare``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    from embedtrain.pipelines.compare.pipeline import compare

    return compare(options)


STS = ParamSpec("STS")
Pairs = ParamSpec("Pairs")
Retrieval = ParamSpec("Retrieval")
MTEB = ParamSpec("MTEB")
GLUE = ParamSpec("GLUE")


class Evaluate(Generic[STS, Pairs, Retrieval, MTEB, GLUE]):
    """Measure models, as ``embedtrain evaluate``: the kind of evaluation first, then its options as keywords."""

    def __init__(
        self,
        sts: Callable[STS, "Evaluation"],
        pairs: Callable[Pairs, "Evaluation"],
        retrieval: Callable[Retrieval, "Evaluation"],
        mteb: Callable[MTEB, "Evaluation"],
        glue: Callable[GLUE, "Evaluation"],
    ) -> None:
        by_kind: dict[str, Callable[..., Evaluation]] = {"sts": sts, "pairs": pairs, "retrieval": retrieval}
        self._by_kind = {**by_kind, "mteb": mteb, "glue": glue}

    @overload
    def __call__(self, kind: Literal["sts"], /, *args: STS.args, **given: STS.kwargs) -> "Evaluation": ...
    @overload
    def __call__(self, kind: Literal["pairs"], /, *args: Pairs.args, **given: Pairs.kwargs) -> "Evaluation": ...
    @overload
    def __call__(
        self, kind: Literal["retrieval"], /, *args: Retrieval.args, **given: Retrieval.kwargs
    ) -> "Evaluation": ...
    @overload
    def __call__(self, kind: Literal["mteb"], /, *args: MTEB.args, **given: MTEB.kwargs) -> "Evaluation": ...
    @overload
    def __call__(self, kind: Literal["glue"], /, *args: GLUE.args, **given: GLUE.kwargs) -> "Evaluation": ...

    def __call__(self, kind: str, /, *args: Any, **given: Any) -> "Evaluation":
        """Measure models.

        Args:
            kind: ``sts``, ``pairs``, ``retrieval``, ``mteb`` or ``glue``.
            args: None are taken.
            given: The options of that kind of evaluation.

        Raises:
            UserError: With every mistake in options, files and model names, before any model is loaded.
        """
        if kind not in self._by_kind:
            hint = did_you_mean(kind, self._by_kind)
            raise UserError(f"embedtrain.evaluate: unknown kind '{kind}'{hint}; expected: {', '.join(self._by_kind)}")
        return self._by_kind[kind](*args, **given)


@taking(STSOptions)
def evaluate_sts(options: STSOptions) -> "Evaluation":
    """Measure models: as ``embedtrain evaluate sts``."""
    from embedtrain.pipelines.evaluate.sts import evaluate_sts

    return evaluate_sts(options)


@taking(PairsOptions)
def evaluate_pairs(options: PairsOptions) -> "Evaluation":
    """Measure models: as ``embedtrain evaluate pairs``."""
    from embedtrain.pipelines.evaluate.pairs import evaluate_pairs

    return evaluate_pairs(options)


@taking(RetrievalOptions)
def evaluate_retrieval(options: RetrievalOptions) -> "Evaluation":
    """Measure models: as ``embedtrain evaluate retrieval``."""
    from embedtrain.pipelines.evaluate.retrieval import evaluate_retrieval

    return evaluate_retrieval(options)


@taking(MTEBOptions)
def evaluate_mteb(options: MTEBOptions) -> "Evaluation":
    """Measure models: as ``embedtrain evaluate mteb``."""
    from embedtrain.pipelines.evaluate.mteb import evaluate_mteb

    return evaluate_mteb(options)


@taking(GLUEOptions)
def evaluate_glue(options: GLUEOptions) -> "Evaluation":
    """Measure models: as ``embedtrain evaluate glue``."""
    from embedtrain.pipelines.evaluate.glue import evaluate_glue

    return evaluate_glue(options)


evaluate = Evaluate(evaluate_sts, evaluate_pairs, evaluate_retrieval, evaluate_mteb, evaluate_glue)
