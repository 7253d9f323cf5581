"""Looks at machine and installation; loads no model and changes nothing."""

from collections.abc import Callable

from embedtrain.pipelines.doctor.finding import Fact, Report
from embedtrain.pipelines.doctor.installed import extra_facts, model_facts, network_facts, package_facts
from embedtrain.pipelines.doctor.options import DoctorOptions


def examine(options: DoctorOptions) -> Report:
    """Everything that ``embedtrain doctor`` shows; what cannot be looked at is said in the report."""
    return Report(
        {
            "computing": _looked_at("computing", _compute_facts),
            "machine": _looked_at("machine", _machine_facts),
            "models": _looked_at("models", model_facts),
            "network": network_facts(try_it=options.network),
            "extras": extra_facts(),
            "packages": package_facts(),
        }
    )


def _compute_facts() -> list[Fact]:
    # Imported here, because a library that is missing is one of the things to be told.
    from embedtrain.pipelines.doctor.computing import compute_facts

    return compute_facts()


def _machine_facts() -> list[Fact]:
    from embedtrain.pipelines.doctor.computing import machine_facts

    return machine_facts()


def _looked_at(name: str, look: Callable[[], list[Fact]]) -> list[Fact]:
    try:
        return look()
    except (ImportError, OSError) as error:  # a library that is missing, or that lacks a system library of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return [
            Fact(name, f"cannot be looked at: {reason}", "problem", "see the packages; pip install -e . mends them")
        ]
