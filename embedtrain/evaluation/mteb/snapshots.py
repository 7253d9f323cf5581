"""Snapshots of a hub cache in the place of what mteb's own loading would fetch."""

import contextlib
import glob
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from embedtrain.evaluation.mteb.offline import FetchRefused

_CARD = "README.md"


@contextlib.contextmanager
def load_from_snapshots(find: Callable[[str, str | None], Path | None]) -> Iterator[None]:
    """Let whatever loads a data set of the hub read its snapshot while the context lasts; nothing else is loaded.

    What was loaded is to be used up before the context ends.

    Args:
        find: The snapshot's folder for a data set's name and revision, or None where there is none.
    """
    import datasets

    with tempfile.TemporaryDirectory(prefix="embedtrain-") as scratch:

        def local(path: str, revision: str | None) -> str:
            snapshot = find(path, revision)
            if snapshot is None:
                raise FetchRefused(f"the data set {path} is not in the cache")
            return str(_readable(snapshot, Path(scratch)))

        def standing_in(function: Callable[..., Any], **given: Any) -> Callable[..., Any]:
            def call(path: str, *rest: Any, revision: str | None = None, **named: Any) -> Any:
                for of_the_hub in ("trust_remote_code", "token"):
                    named.pop(of_the_hub, None)
                return function(local(path, revision), *rest, **named, **given)

            return call

        load = standing_in(datasets.load_dataset, cache_dir=f"{scratch}/tables", verification_mode="no_checks")
        splits = standing_in(datasets.get_dataset_split_names)
        names = standing_in(datasets.get_dataset_config_names)
        places: list[tuple[Any, str, Any]] = [(datasets.config, "HF_HUB_OFFLINE", True)]
        instead = {
            "load_dataset": (datasets.load_dataset, load),
            "get_dataset_split_names": (datasets.get_dataset_split_names, splits),
            "get_dataset_config_names": (
                datasets.get_dataset_config_names,
                # mteb gives the revision without its name.
                lambda path, revision=None, **named: names(path, revision=revision, **named),
            ),
        }
        for module in [datasets, *(module for name, module in list(sys.modules.items()) if name.startswith("mteb."))]:
            for name, (original, stand_in) in instead.items():
                if vars(module).get(name) is original:
                    places.append((module, name, stand_in))
        before = [(place, name, getattr(place, name)) for place, name, _ in places]
        try:
            for place, name, value in places:
                setattr(place, name, value)
            yield
        finally:
            for place, name, value in before:
                setattr(place, name, value)


def narrow(task: Any, snapshot: Path) -> None:
    """Leave a task those of its subsets whose files are in its snapshot, where the files tell."""
    import datasets

    if not task.metadata.is_multilingual:
        return
    with tempfile.TemporaryDirectory(prefix="embedtrain-") as scratch:
        try:
            configs = set(datasets.get_dataset_config_names(str(_readable(snapshot, Path(scratch)))))
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError):
            return  # loading it says why
    # Fast loading takes all subsets from one table.
    task.fast_loading = task.fast_loading and "default" in configs
    there = [subset for subset in task.hf_subsets if configs & {subset, f"{subset}-qrels"}]
    if there and not task.fast_loading:
        task.hf_subsets = there


def _readable(snapshot: Path, scratch: Path) -> Path:
    """A snapshot as ``datasets`` reads it: where files that its card names were not fetched, without their mention."""
    card = snapshot / _CARD
    header, text = _header(card)
    configs = header.get("configs")
    if not isinstance(configs, list):
        return snapshot
    kept = [there for config in configs if (there := _there(config, snapshot)) is not None]
    if kept == configs or not kept:
        return snapshot
    view = scratch / "snapshots" / f"{snapshot.parent.parent.name}-{snapshot.name}"
    if not view.is_dir():
        for path in sorted(snapshot.rglob("*")):
            if path.is_file() and path != card:
                _link(path.resolve(), view / path.relative_to(snapshot))
        changed = yaml.safe_dump({**header, "configs": kept}, allow_unicode=True)
        (view / _CARD).write_text(f"---\n{changed}---\n{text}", encoding="utf-8")
    return view


def _header(card: Path) -> tuple[dict[str, Any], str]:
    """The YAML at the top of a data set's card, and the text behind it."""
    if not card.is_file():
        return {}, ""
    parts = card.read_text(encoding="utf-8", errors="replace").split("---", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}, ""
    try:
        header = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}, ""
    return (header, parts[2]) if isinstance(header, dict) else ({}, "")


def _there(config: Any, snapshot: Path) -> Any:
    """A configuration with the splits alone whose files are there; None where there are none."""
    if not isinstance(config, Mapping) or "data_files" not in config:
        return config
    files = config["data_files"]
    if isinstance(files, list) and files and all(isinstance(entry, Mapping) for entry in files):
        kept = [entry for entry in files if _any_file(entry.get("path"), snapshot)]
        return {**config, "data_files": kept} if kept else None
    return config if _any_file(files, snapshot) else None


def _any_file(patterns: Any, snapshot: Path) -> bool:
    given = patterns if isinstance(patterns, list) else [patterns]
    return any(glob.glob(str(pattern), root_dir=snapshot, recursive=True) for pattern in given)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source)
    except OSError:  # Windows lets not everyone make links.
        shutil.copy2(source, target)
