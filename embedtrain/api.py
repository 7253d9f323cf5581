"""The commands as functions: the options as keywords, the same files and figures, results as typed values.

Every function takes the fields of its dataclass of options by name, and nothing else. Where the command line takes a
list, one value may stand for a list of one; a group of options, such as ``training``, is a mapping of some of them or
the dataclass itself.
"""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, get_origin, overload

from embedtrain.configs.describing import Option, every_option, options_of, type_in_words, without_none
from embedtrain.configs.values import make_options, unfilled, wrong_type
from embedtrain.errors import Problems, UserError, did_you_mean
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
    from embedtrain.pipelines.label.pipeline import LabelResult
    from embedtrain.pipelines.mine.pipeline import MineResult
    from embedtrain.pipelines.train.pipeline import TrainResult

Given = ParamSpec("Given")
Options = TypeVar("Options")
Result = TypeVar("Result")


def taking(kind: Callable[Given, Options]) -> Callable[[Callable[[Options], Result]], Callable[Given, Result]]:
    """Decorates a function of a dataclass of options; it then takes the fields of the dataclass as keywords.

    For editors and type checkers the function has the signature of the dataclass.
    """

    def decorate(run: Callable[[Options], Result]) -> Callable[Given, Result]:
        @functools.wraps(run)
        def call(*_: Given.args, **given: Given.kwargs) -> Result:
            if _:
                raise TypeError(f"embedtrain.{run.__name__} takes its options by name, such as output='runs/first'")
            return run(options_from(kind, given, called=f"embedtrain.{run.__name__.replace('_', ' ')}"))

        returned = inspect.signature(run).return_annotation
        call.__signature__ = inspect.signature(kind).replace(return_annotation=returned)  # type: ignore[attr-defined]
        return call

    return decorate


def options_from(kind: Callable[..., Options], given: Mapping[str, Any], *, called: str) -> Options:
    """A dataclass of options from keywords.

    Args:
        kind: The dataclass.
        given: Its fields.
        called: What the caller called, for messages.

    Raises:
        UserError: With every unknown name, every value of the wrong type, and every required option that is missing.
    """
    assert isinstance(kind, type)
    known = {option.name: option for option in every_option(options_of(kind))}
    problems = Problems()
    right: dict[str, Any] = {}
    for name, value in _flattened(given, known):
        option = known.get(name)
        if option is None:
            problems.add(f"{called}: unknown option '{name}'{did_you_mean(name, known)}")
        elif option.parts:
            expected = ", ".join(part.key for part in option.parts)
            problems.add(f"{called}: '{name}' is {value!r}, expected a mapping with any of {expected}")
        elif value is not None or not option.required:
            right[name] = _plain(option, value)
            message = wrong_type(option, right[name])
            if message:
                problems.add(f"{called}: {message}")
    for option in unfilled(list(known.values()), right):
        problems.add(f"{called}: '{option.name}' is required: give {type_in_words(option.hint)}. {option.help}")
    problems.raise_if_any()
    return make_options(kind, right)


def _flattened(given: Mapping[str, Any], known: Mapping[str, Option], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in given.items():
        name = f"{prefix}{key}"
        option = known.get(name)
        if option is not None and option.parts and dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if option is not None and option.parts and isinstance(value, Mapping):
            found += _flattened(value, known, prefix=f"{name}.")
        else:
            found.append((name, value))
    return found


def _plain(option: Option, value: Any) -> Any:
    """Paths as texts, and a list where one value stands for a list of one."""
    if isinstance(value, list | tuple):
        return [os.fspath(item) if isinstance(item, os.PathLike) else item for item in value]
    plain = os.fspath(value) if isinstance(value, os.PathLike) else value
    is_list = get_origin(without_none(option.hint)) is list
    return [plain] if is_list and plain is not None else plain


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
