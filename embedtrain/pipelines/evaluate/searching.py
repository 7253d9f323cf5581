"""The searches of ``embedtrain evaluate retrieval``: what they read, and each made once or kept from an earlier run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtrain.data.retrieval import RetrievalSet, read_retrieval_set
from embedtrain.errors import Problems, UserError
from embedtrain.evaluation.hybrid import Ranked, Reranker, bm25_search, fuse
from embedtrain.evaluation.leakage import Leak, Texts, find_leaks
from embedtrain.evaluation.ranking import depth_needed
from embedtrain.evaluation.retrieval import RetrievalTask
from embedtrain.files import sha256_of_value, write_parquet
from embedtrain.models import ModelSource, load_crossencoder
from embedtrain.models.sharing import share_model
from embedtrain.pipelines.checks import content_hash, noting
from embedtrain.pipelines.evaluate.inputs import Evaluated, choose_where, find_models
from embedtrain.pipelines.evaluate.leaking import read_trained_on
from embedtrain.pipelines.evaluate.options import RetrievalOptions
from embedtrain.pipelines.evaluate.workspace import EvaluateWorkspace
from embedtrain.pipelines.label.teachers import read_teacher

BM25 = "BM25"


@dataclass(frozen=True)
class RetrievalInputs:
    """Everything from outside that a measurement of searches depends on."""

    evaluated: Evaluated
    found: RetrievalSet
    reranker: ModelSource | None
    leaks: list[Leak]


def collect_retrieval_inputs(options: RetrievalOptions) -> RetrievalInputs:
    """Check the options, the models' files and the retrieval set; no model is loaded yet.

    Raises:
        UserError: With every problem of every option, file and model at once.
    """
    problems = Problems()
    options.check(problems)
    models = find_models(options, problems)
    found = noting(problems, read_retrieval_set, options.data, split=options.split)
    name = options.reranker
    reranker = None if name is None else noting(problems, _find_reranker, name)
    trained_on = read_trained_on(options.train_data, {}, problems)
    device, precision = choose_where(options, problems)
    problems.raise_if_any()
    # Nothing is None past this point: each attempt either gave a value or noted a problem.
    assert found is not None
    assert device is not None
    assert precision is not None
    leaks = find_leaks(trained_on, {options.data: _texts(found)})
    return RetrievalInputs(Evaluated(models, device, precision), found, reranker, leaks)


class Searching:
    """The searches that were asked for, one after the other.

    Attributes:
        comparisons: Pairs of searches whose difference says something, filled while they are made.
    """

    def __init__(
        self, options: RetrievalOptions, inputs: RetrievalInputs, task: RetrievalTask, work: EvaluateWorkspace
    ) -> None:
        self.options = options
        self.inputs = inputs
        self.task = task
        self.work = work
        self.comparisons: list[tuple[str, str]] = []
        self._loaded: Reranker | None = None
        self.depth = max(depth_needed(options.recall), options.candidates)
        self.data = sha256_of_value(
            [inputs.found.corpus, inputs.found.queries, content_hash(inputs.found.qrels), options.skip_own_id]
        )

    def rankings(self) -> Iterator[tuple[str, Ranked]]:
        """Each search's name and what it found."""
        searches = self.options.searches
        dense: list[str] = []
        words = None
        if "bm25" in searches or "fused" in searches:
            words = self._kept([BM25], {}, lambda: bm25_search(self.task, depth=self.depth))
        if words is not None and "bm25" in searches:
            yield from self._with_reranked(BM25, words)
        for source in self.inputs.evaluated.models if {"dense", "fused"} & set(searches) else []:
            name, ranked = source.name, self._dense(source)
            if "dense" in searches:
                self.comparisons += [(name, other) for other in [*dense, *([BM25] if "bm25" in searches else [])]]
                dense.append(name)
                yield from self._with_reranked(name, ranked)
            if words is not None and "fused" in searches:
                both = f"{name} + {BM25}"
                parts = [one[:, : self.options.candidates] for one in (ranked, words)]
                shown = [*([name] if "dense" in searches else []), *([BM25] if "bm25" in searches else [])]
                self.comparisons += [(both, one) for one in shown]
                yield from self._with_reranked(both, fuse(parts, offset=self.options.fusion_offset))

    def _with_reranked(self, name: str, ranked: Ranked) -> Iterator[tuple[str, Ranked]]:
        yield name, ranked
        reranker = self.inputs.reranker
        if reranker is None:
            return
        head = np.ascontiguousarray(ranked[:, : self.options.candidates])

        def search() -> Ranked:
            with self.work.in_precision():
                return self._reranker(reranker).rerank(ranked, depth=self.options.candidates)

        used = {"reranker": reranker.fingerprint, "candidates": sha256_of_value(head.tolist())}
        self.comparisons.append((f"{name}, reranked", name))
        yield f"{name}, reranked", self._kept(["reranked", name], used, search)

    def _reranker(self, source: ModelSource) -> Reranker:
        if self._loaded is None:
            device = self.work.device
            load = partial(load_crossencoder, source, device=device)
            model = share_model(load, device=device, method="predict")
            self._loaded = Reranker(model, self.task, batch_size=self.work.batch_size)
        return self._loaded

    def _dense(self, source: ModelSource) -> Ranked:
        def search() -> Ranked:
            with self.work.loaded(source) as model:
                return self.task.search(model, depth=self.depth, batch_size=self.work.batch_size)

        return self._kept(["dense", source.name], {"model": source.fingerprint}, search)

    def _kept(self, name: list[str], used: dict[str, Any], search: Callable[[], Ranked]) -> Ranked:
        """What a search found, made now or kept from an earlier run: a row a document, with the ids."""
        task = self.task

        def fill(folder: Path) -> None:
            ranked = search()
            query, place = np.nonzero(ranked >= 0)
            documents = ranked[query, place]
            frame = pd.DataFrame(
                {
                    "query-id": np.array(task.judgements.query_ids, dtype=object)[query],
                    "rank": place + 1,
                    "corpus-id": np.array(task.corpus_ids, dtype=object)[documents],
                    "query_row": query,
                    "corpus_row": documents,
                }
            )
            write_parquet(folder / "ranking.parquet", frame)

        inputs = {**used, "data": self.data, "depth": self.depth}
        folder = self.work.stage([*name, self.options.data, self.options.split], inputs=inputs, work=fill)
        frame = pd.read_parquet(folder / "ranking.parquet")
        width = max(self.depth, int(frame["rank"].max()) if len(frame) else 0)
        ranked = np.full((len(task.queries), width), -1, dtype=np.int64)
        ranked[frame["query_row"], frame["rank"] - 1] = frame["corpus_row"]
        return ranked


def _texts(found: RetrievalSet) -> Texts:
    """The judged queries, and each with what is relevant to it."""
    judged = found.qrels[found.qrels["score"] > 0]
    pairs = zip(judged["query-id"], judged["corpus-id"], strict=True)
    return Texts(
        [found.queries[query] for query in dict.fromkeys(found.qrels["query-id"])],
        [(found.queries[query], found.corpus[document]) for query, document in pairs],
    )


def _find_reranker(name: str) -> ModelSource:
    try:
        teacher = read_teacher(name)
    except UserError as error:
        raise UserError(*(problem.replace("--teacher ", "--reranker ", 1) for problem in error.problems)) from None
    if teacher.kind != "cross-encoder":
        raise UserError(f"--reranker {name}: a bi-encoder, expected a cross-encoder that scores query and document")
    return teacher.source
