import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from embedtrain.mining.calibration import reliability, score_distance
from embedtrain.mining.distribution import SAMPLED_ROWS, LabelSummary, ScoreCounts, build_label_metrics
from embedtrain.mining.labeling import hard_labels


@pytest.fixture
def random():
    return np.random.default_rng(9)


def labelled(scores):
    """Pairs whose texts tell their row."""
    rows = range(len(scores))
    return pd.DataFrame(
        {"sentence1": [f"a{row}" for row in rows], "sentence2": [f"b{row}" for row in rows], "score": scores}
    )


def summed(pairs, *, shard, **thresholds):
    summary = LabelSummary(**thresholds)
    for first in range(0, len(pairs), shard):
        summary.add(pairs.iloc[first : first + shard], first_row=first)
    return summary


def test_counts_mean_and_histogram_are_those_of_all_scores(random):
    scores = random.random(5000)
    counts = ScoreCounts()
    for part in np.array_split(scores, 7):
        counts.add(part)
    assert counts.pairs == 5000
    assert counts.outside == 0
    assert counts.mean == pytest.approx(scores.mean())
    assert counts.histogram() == np.histogram(scores, bins=20, range=(0, 1))[0].tolist()


def test_the_edges_of_the_scale_and_what_lies_beyond():
    counts = ScoreCounts()
    counts.add([0.0, 1.0, -3.0, 7.5, 0.05])
    assert counts.outside == 2
    assert counts.histogram()[0] == 2
    assert counts.histogram()[1] == 1
    assert counts.histogram()[-1] == 2
    assert sum(counts.histogram()) == 5
    assert counts.distance([0.0, 1.0, -3.0, 7.5, 0.05]) == pytest.approx(0)
    assert ScoreCounts().mean is None


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="found 2 of 3 that are not"):
        ScoreCounts().add([0.1, np.nan, np.inf])


@pytest.mark.parametrize("draw", ["uniform", "high", "constant"])
def test_the_distance_from_bins_is_that_of_the_scores(random, draw):
    silver = {"uniform": random.random(20_000), "high": random.beta(8, 1, 20_000), "constant": np.ones(20_000)}[draw]
    gold = random.integers(0, 26, 1500) / 25
    counts = ScoreCounts()
    counts.add(silver)
    assert counts.distance(gold) == pytest.approx(score_distance(silver, gold), abs=0.00025)


def test_examples_are_spread_over_the_ranks_with_the_lowest_and_the_highest_among_them(random):
    scores = random.random(10_000).astype(np.float32)
    examples = summed(labelled(scores), shard=777).examples(20)
    assert len(examples) == 20
    assert examples["score"].is_monotonic_increasing
    assert examples["row"].iloc[0] == scores.argmin()
    assert examples["row"].iloc[-1] == scores.argmax()
    for place, row in enumerate(examples["row"]):
        assert examples["score"][place] == scores[row]
        assert examples["sentence1"][place] == f"a{row}"
        assert (scores <= scores[row]).mean() == pytest.approx(place / 19, abs=0.04)


def test_the_summary_does_not_depend_on_the_parts_that_the_pairs_come_in(random):
    pairs = labelled(random.integers(0, 500, 6000) / 500).assign(sampled_by="bm25")
    thresholds = {"positive_threshold": 0.7, "negative_threshold": 0.3}
    whole, parts = (summed(pairs, shard=shard, **thresholds) for shard in (6000, 131))
    backwards = LabelSummary(**thresholds)
    for first in range(5000, -1, -1000):
        backwards.add(pairs.iloc[first : first + 1000], first_row=first)
    for other in (parts, backwards):
        pd.testing.assert_frame_equal(whole.examples(), other.examples())
        first, second = (build_label_metrics(one, gold_scores=[0.1, 0.9]) for one in (whole, other))
        assert first["distribution"].pop("silver_mean") == pytest.approx(second["distribution"].pop("silver_mean"))
        assert first["distribution"].pop("wasserstein") == pytest.approx(second["distribution"].pop("wasserstein"))
        assert first == second
    assert set(whole.examples()["sampled_by"]) == {"bm25"}


def test_the_sample_of_rows_is_drawn_evenly():
    count = 20 * SAMPLED_ROWS
    rows = np.arange(count)
    examples = summed(labelled(rows / count), shard=4096).examples(SAMPLED_ROWS)
    in_tenths = np.histogram(examples["row"], bins=10, range=(0, count))[0]
    assert in_tenths.sum() == SAMPLED_ROWS
    # A draw of 2000 has about 200 +- 14 in each tenth.
    assert in_tenths.min() > 150
    assert in_tenths.max() < 250


def test_few_pairs_are_all_examples_and_none_give_none():
    examples = summed(labelled([0.5, 0.1, 0.9]), shard=2).examples()
    assert examples["row"].tolist() == [1, 0, 2]
    assert list(LabelSummary().examples().columns) == ["row", "sentence1", "sentence2", "score"]
    assert len(LabelSummary().examples()) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shares_are_those_of_hard_labels(random, dtype):
    """Scores that lie on a threshold are the interesting ones: 0.7 in float32 is below 0.7 in float64."""
    pairs = labelled((random.integers(0, 11, 900) / 10).astype(dtype))
    told = build_label_metrics(summed(pairs, shard=100, positive_threshold=0.7, negative_threshold=0.4))["thresholds"]
    hard = hard_labels(pairs, positive_threshold=0.7, negative_threshold=0.4)
    assert told["positive_share"] * 900 == pytest.approx(int(hard["label"].sum()))
    assert told["negative_share"] * 900 == pytest.approx(int((hard["label"] == 0).sum()))
    assert told["dropped_share"] * 900 == pytest.approx(900 - len(hard))
    assert (told["positive"], told["negative"]) == (0.7, 0.4)


def test_metrics_of_everything_are_json(random):
    silver, gold = random.beta(4, 2, 3000), random.beta(2, 2, 400)
    summary = summed(labelled(silver), shard=1000, positive_threshold=0.8, negative_threshold=0.2)
    told = build_label_metrics(
        summary,
        gold_scores=gold,
        teachers=[{"name": "t", "kind": "cross-encoder", "dev": {"spearman": 0.8}}],
        student={"name": "s", "dev": None},
        calibration={"reliability_before": reliability(gold**2, gold), "applied": True},
        seconds=30.0,
    )
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["pairs"] == 3000
    assert told["pairs_per_second"] == pytest.approx(100)
    distribution = told["distribution"]
    assert distribution["edges"] == [number / 20 for number in range(21)]
    assert distribution["gold_hist"] == np.histogram(gold, bins=20, range=(0, 1))[0].tolist()
    assert distribution["gold_mean"] == pytest.approx(gold.mean())
    assert distribution["gold_pairs"] == 400
    assert distribution["wasserstein"] == pytest.approx(score_distance(silver, gold), abs=0.00025)
    assert told["teachers"][0]["name"] == "t"
    assert told["calibration"]["applied"] is True


def test_what_was_not_given_is_none():
    told = build_label_metrics(summed(labelled([0.2, 0.4]), shard=5))
    assert told["thresholds"] is None
    assert told["student"] is None
    assert told["calibration"] is None
    assert told["pairs_per_second"] is None
    assert {told["distribution"][name] for name in ("gold_hist", "gold_mean", "gold_pairs", "wasserstein")} == {None}
    assert build_label_metrics(LabelSummary())["pairs"] == 0


def test_memory_does_not_grow_with_the_pairs():
    def peak(shards):
        summary = LabelSummary(positive_threshold=0.7, negative_threshold=0.3)
        tracemalloc.start()
        for shard in range(shards):
            summary.add(labelled(np.random.default_rng(shard).random(4000)), first_row=4000 * shard)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(3)
    assert peak(40) < 1.1 * peak(3)
