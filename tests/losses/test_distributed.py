"""Real processes: the gradient of W ranks is the gradient of one process on the joined batch.

One group of processes for each number of ranks checks every loss in turn and leaves a report; the tests read it.
Processes are started with a fresh interpreter and speak over the loopback interface alone.
"""

import json
import math
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from embedtrain.losses import (
    AnglELoss,
    BatchAllTripletLoss,
    BatchHardTripletLoss,
    BatchSemiHardTripletLoss,
    CoSENTLoss,
    GISTEmbedLoss,
    GradCache,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    OnlineContrastiveLoss,
    SigmoidContrastiveLoss,
    SimilarityDistillationLoss,
    SupConLoss,
    WeightedSum,
)

FEATURES, DIM, NEGATIVES, CHUNK_SIZE = 5, 6, 2, 2
ALL_DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
SYMMETRIC = ("query_to_doc", "doc_to_query")
PAIR, WITH_NEGATIVES = 2, 2 + NEGATIVES


# Starting the processes counts towards the first test.
pytestmark = pytest.mark.timeout(480)


@dataclass(frozen=True)
class Case:
    """A loss and what it is given beside the embeddings of the first ``columns`` columns.

    ``needs_gather``: the ranks' arguments only make sense when candidates are gathered.
    """

    make: Callable[[bool], nn.Module]
    columns: int
    targets: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    needs_gather: bool = False


def mnrl(**options):
    return lambda gather: MultipleNegativesRankingLoss(gather=gather, **options)


def weighted(gather):
    losses = [
        (MultipleNegativesRankingLoss(gather=gather, directions=SYMMETRIC), 1.0),
        (SigmoidContrastiveLoss(gather=gather), 0.5),
        (GISTEmbedLoss(gather=gather, scale=20.0), 0.25),
    ]
    return WeightedSum(losses)


GUIDE = ("guide_anchor", "guide_positive")
CASES = {
    "mnrl": Case(mnrl(), PAIR),
    "mnrl dot": Case(mnrl(similarity="dot", scale=1.0), WITH_NEGATIVES),
    "mnrl negatives": Case(mnrl(), WITH_NEGATIVES),
    "mnrl symmetric": Case(mnrl(directions=SYMMETRIC, partition_mode="per_direction"), PAIR),
    "mnrl symmetric negatives": Case(mnrl(directions=SYMMETRIC, partition_mode="per_direction"), WITH_NEGATIVES),
    "mnrl all directions": Case(mnrl(directions=ALL_DIRECTIONS), PAIR),
    "mnrl all directions, negatives": Case(mnrl(directions=ALL_DIRECTIONS), WITH_NEGATIVES),
    "mnrl ids ignored": Case(mnrl(), PAIR, named=("ids",)),
    "mnrl ids positive": Case(mnrl(known_positives="positive"), PAIR, named=("ids",)),
    "mnrl negative ids ignored": Case(mnrl(), WITH_NEGATIVES, named=("ids", "negative_ids")),
    "mnrl negative ids positive": Case(mnrl(known_positives="positive"), WITH_NEGATIVES, named=("ids", "negative_ids")),
    "mnrl all directions, ids ignored": Case(
        mnrl(directions=ALL_DIRECTIONS), WITH_NEGATIVES, named=("ids", "negative_ids")
    ),
    "mnrl all directions, ids positive": Case(
        mnrl(directions=ALL_DIRECTIONS, known_positives="positive"), WITH_NEGATIVES, named=("ids", "negative_ids")
    ),
    "mnrl mask ignored": Case(mnrl(), WITH_NEGATIVES, named=("mask",), needs_gather=True),
    "mnrl mask positive": Case(mnrl(known_positives="positive"), WITH_NEGATIVES, named=("mask",), needs_gather=True),
    "mnrl hard in-batch": Case(mnrl(hardness_mode="in_batch_negatives", hardness_strength=3.0), WITH_NEGATIVES),
    "mnrl hard negatives": Case(mnrl(hardness_mode="hard_negatives", hardness_strength=3.0), WITH_NEGATIVES),
    "mnrl hard all": Case(mnrl(hardness_mode="all_negatives", hardness_strength=3.0), WITH_NEGATIVES),
    "gist": Case(lambda gather: GISTEmbedLoss(gather=gather, scale=20.0), PAIR, named=GUIDE),
    "gist negatives, ids, margin": Case(
        lambda gather: GISTEmbedLoss(gather=gather, scale=20.0, margin_strategy="relative", margin=0.1),
        WITH_NEGATIVES,
        named=(*GUIDE, "guide_negatives", "ids", "negative_ids"),
    ),
    "gist without anchors and positives": Case(
        lambda gather: GISTEmbedLoss(gather=gather, scale=20.0, contrast_anchors=False, contrast_positives=False),
        PAIR,
        named=GUIDE,
    ),
    "sigmoid": Case(lambda gather: SigmoidContrastiveLoss(gather=gather), PAIR),
    "sigmoid negatives, ids ignored": Case(
        lambda gather: SigmoidContrastiveLoss(gather=gather), WITH_NEGATIVES, named=("ids", "negative_ids")
    ),
    "sigmoid ids positive": Case(
        lambda gather: SigmoidContrastiveLoss(gather=gather, known_positives="positive", scale=4.0, bias=-1.0),
        PAIR,
        named=("ids",),
    ),
    "supcon": Case(lambda gather: SupConLoss(gather=gather), 1, targets=("labels",)),
    "similarity distillation": Case(
        lambda gather: SimilarityDistillationLoss(gather=gather), 1, targets=("teacher_embedding",)
    ),
    "cosent": Case(lambda gather: CoSENTLoss(gather=gather), PAIR, targets=("score",)),
    "angle": Case(lambda gather: AnglELoss(gather=gather), PAIR, targets=("score",)),
    "triplet hard": Case(lambda gather: BatchHardTripletLoss(gather=gather), 1, targets=("labels",)),
    "triplet hard cosine": Case(
        lambda gather: BatchHardTripletLoss(gather=gather, distance="cosine", margin=0.3), 1, targets=("labels",)
    ),
    "triplet semi-hard": Case(lambda gather: BatchSemiHardTripletLoss(gather=gather), 1, targets=("labels",)),
    "triplet all": Case(lambda gather: BatchAllTripletLoss(gather=gather), 1, targets=("labels",)),
    "triplet all small margin": Case(
        lambda gather: BatchAllTripletLoss(gather=gather, margin=0.1), 1, targets=("labels",)
    ),
    "online contrastive": Case(lambda gather: OnlineContrastiveLoss(gather=gather), PAIR, targets=("label",)),
    "matryoshka": Case(
        lambda gather: MatryoshkaLoss(MultipleNegativesRankingLoss(gather=gather), dims=[DIM, 4, 2]),
        WITH_NEGATIVES,
        named=("ids", "negative_ids"),
    ),
    "weighted sum": Case(weighted, PAIR, named=(*GUIDE, "ids")),
}


@dataclass(frozen=True)
class Plan:
    """One way to run all cases. ``rows``: how many rows each rank holds."""

    rows: tuple[int, ...]
    cached: bool = False
    dtype: torch.dtype = torch.float64
    control: bool = False

    @property
    def tolerance(self):
        return 1e-10 if self.dtype == torch.float64 else 2e-4

    @property
    def name(self):
        how = "GradCache" if self.cached else "plain"
        return f"{how} {str(self.dtype).removeprefix('torch.')} rows {'+'.join(map(str, self.rows))}"


EQUAL = {2: (4, 4), 4: (3, 3, 3, 3)}
UNEQUAL = {2: (5, 2), 4: (5, 3, 4, 1)}
WITHOUT_ROWS = {2: (6, 0), 4: (3, 0, 4, 1)}


def plans(world_size):
    equal, unequal = EQUAL[world_size], UNEQUAL[world_size]
    return [
        Plan(equal, control=True),
        Plan(equal, cached=True),
        Plan(unequal),
        Plan(unequal, cached=True),
        Plan(unequal, dtype=torch.float32),
        Plan(unequal, cached=True, dtype=torch.float32),
        Plan(WITHOUT_ROWS[world_size]),
        Plan(WITHOUT_ROWS[world_size], cached=True),
    ]


def joined_batch(rows, dtype):
    """The joined batch: inputs of each column, and everything a case may name. Ids and labels recur on every rank."""
    draw = torch.Generator().manual_seed(rows)

    def normal(*shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)

    index = torch.arange(rows)
    return {
        "columns": [normal(rows, FEATURES) for _ in range(WITH_NEGATIVES)],
        "score": torch.randint(0, 4, (rows,), generator=draw) / 4,
        "labels": index % 3,
        "label": index % 2,
        "teacher_embedding": normal(rows, 4),
        "ids": index % 5,
        "negative_ids": torch.randint(0, 5, (rows, NEGATIVES), generator=draw),
        "guide_anchor": normal(rows, 3),
        "guide_positive": normal(rows, 3),
        "guide_negatives": normal(rows, NEGATIVES, 3),
        # All of a row's candidates, which are not only its own rank's.
        "mask": torch.rand(rows, rows * (1 + NEGATIVES), generator=draw) < 0.2,
    }


def share(batch, start, stop):
    """The rows that one rank holds."""
    cut = {name: value[start:stop] for name, value in batch.items() if name != "columns"}
    return {**cut, "columns": [column[start:stop] for column in batch["columns"]]}


def run_loss(loss, case, encoder, batch, *, cached):
    """The loss after its backward pass."""
    columns = batch["columns"][: case.columns]
    targets = [batch[name] for name in case.targets]
    named = {name: batch[name] for name in case.named}
    if cached:
        value = GradCache(loss, chunk_size=CHUNK_SIZE)(encoder, columns, *targets, **named)
    else:
        embeddings = [encoder(column) for column in columns]
        if len(embeddings) > PAIR:
            embeddings = [*embeddings[:PAIR], torch.stack(embeddings[PAIR:], dim=1)]
        value = loss(*embeddings, *targets, **named)
    value.backward()
    return value.detach()


def new_encoder(dtype):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, DIM), nn.Tanh()).to(dtype)


def gradients_of(module):
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def mean_over_ranks(value):
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def on_all_ranks(case, plan, batch, *, gather):
    """Loss and gradients as data-parallel training sees them."""
    rank = dist.get_rank()
    own = share(batch, sum(plan.rows[:rank]), sum(plan.rows[: rank + 1]))
    encoder = DistributedDataParallel(new_encoder(plan.dtype))
    loss = case.make(gather).to(plan.dtype)
    found = {"loss": mean_over_ranks(run_loss(loss, case, encoder, own, cached=plan.cached))}
    found |= {f"encoder.{name}": gradient for name, gradient in gradients_of(encoder.module).items()}
    # The loss's own parameters are not in the wrapper: averaging them is what a wrapper would do.
    found |= {f"loss.{name}": mean_over_ranks(gradient) for name, gradient in gradients_of(loss).items()}
    return found


def in_one_process(case, plan, batch):
    encoder = new_encoder(plan.dtype)
    loss = case.make(False).to(plan.dtype)
    found = {"loss": run_loss(loss, case, encoder, batch, cached=False)}
    found |= {f"encoder.{name}": gradient for name, gradient in gradients_of(encoder).items()}
    found |= {f"loss.{name}": gradient for name, gradient in gradients_of(loss).items()}
    return found


def differences(found, expected, tolerance):
    """What differs, in words: the difference is measured against the largest number of each tensor."""
    if found.keys() != expected.keys():
        return [f"found {sorted(found)}, expected {sorted(expected)}"]
    told = []
    for name, wanted in expected.items():
        furthest = (found[name] - wanted).abs().max().item()
        allowed = tolerance * max(1.0, wanted.abs().max().item())
        # Written so that NaN is told, too.
        if not furthest <= allowed:
            told.append(f"{name} differs by {furthest:.3g} (allowed {allowed:.3g}, largest {wanted.abs().max():.3g})")
    return told


def check(case, plan, batch):
    """What is wrong with a loss, as a list of sentences."""
    expected = in_one_process(case, plan, batch)
    told = differences(on_all_ranks(case, plan, batch, gather=True), expected, plan.tolerance)
    if not all(math.isfinite(value.abs().sum()) for value in expected.values()):
        told.append("the expected values are not finite")
    if max(value.abs().max() for name, value in expected.items() if name.startswith("encoder.")) < 1e-6:
        told.append("the expected gradient is zero, so nothing is tested")
    if plan.control and not case.needs_gather:
        ungathered = on_all_ranks(case, plan, batch, gather=False)
        if not differences(ungathered, expected, 1e-4):
            told.append("the result is the same without gathering, so nothing is tested")
    return told


def work(rank, world_size, folder):
    """What each process runs: all cases of all plans. Each leaves a report."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    store = dist.FileStore(str(folder / "store"), world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=timedelta(seconds=30))
    report = {}
    try:
        for plan in plans(world_size):
            batch = joined_batch(sum(plan.rows), plan.dtype)
            report[plan.name] = {}
            for name, case in CASES.items():
                raised = ""
                try:
                    told = check(case, plan, batch)
                except Exception as error:
                    raised = repr(error)
                    told = [traceback.format_exc(limit=-4)]
                report[plan.name][name] = told
                (folder / f"report{rank}.json").write_text(json.dumps(report), encoding="utf-8")
                # An error on some ranks alone leaves the others in the middle of an exchange, and all that follows
                # would be out of step.
                key = f"{plan.name} {name}"
                store.set(f"{key} {rank}", raised or "none")
                if len({store.get(f"{key} {other}") for other in range(world_size)}) > 1:
                    return
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 4])
def reports(request, tmp_path_factory):
    """The number of ranks and what each rank reported."""
    folder = tmp_path_factory.mktemp(f"ranks{request.param}")
    torch.multiprocessing.spawn(work, args=(request.param, Path(folder)), nprocs=request.param)
    texts = [(folder / f"report{rank}.json").read_text(encoding="utf-8") for rank in range(request.param)]
    return request.param, [json.loads(text) for text in texts]


def assert_all_equal_one_process(reports, plan):
    assert len(reports) == len(plan.rows)
    for rank, report in enumerate(reports):
        told = {name: told for name, told in report.get(plan.name, {}).items() if told}
        text = "\n".join(f"{name}: {line}" for name, lines in told.items() for line in lines)
        assert not told, f"{plan.name}, rank {rank}:\n{text}"
        assert report.get(plan.name, {}).keys() == CASES.keys(), f"{plan.name}, rank {rank}: it stopped before the end"


@pytest.mark.parametrize("cached", [False, True], ids=["plain", "GradCache"])
@pytest.mark.parametrize("layout", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_gradients_equal_one_process_on_the_joined_batch(reports, layout, cached):
    world_size, found = reports
    assert_all_equal_one_process(found, Plan(layout[world_size], cached=cached))


@pytest.mark.parametrize("cached", [False, True], ids=["plain", "GradCache"])
def test_also_in_single_precision(reports, cached):
    world_size, found = reports
    assert_all_equal_one_process(found, Plan(UNEQUAL[world_size], cached=cached, dtype=torch.float32))


@pytest.mark.parametrize("cached", [False, True], ids=["plain", "GradCache"])
def test_a_rank_without_rows_takes_part(reports, cached):
    world_size, found = reports
    assert_all_equal_one_process(found, Plan(WITHOUT_ROWS[world_size], cached=cached))
