"""Scores from their items: each measure against the plain way, resamples drawn one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, matthews_corrcoef

from embedtrain.errors import UserError
from embedtrain.evaluation.classification import mean_of_estimates
from embedtrain.evaluation.items import OF_TRAININGS, Items
from embedtrain.evaluation.kept_items import INDEX, ONLY_PART, KeptScore, PartItems, keep_scores, read_index
from embedtrain.evaluation.resampling import resample_counts

NUMBER = 40


def made(measure, seed=0, number=NUMBER):
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 5, number).astype(float)
    if measure == "mean":
        return Items(measure, "queries", {"value": rng.random(number)})
    if measure == "average precision":
        return Items(measure, "pairs", {"prediction": rng.random(number), "gold": (gold > 2).astype(float)})
    if measure == "macro f1":
        said = [np.where(rng.random(number) < 0.6, gold, rng.integers(0, 6, number)) for _ in range(3)]
        return Items(measure, "examples", {"gold": gold, **{f"predicted_{n}": one for n, one in enumerate(said)}})
    if measure in ("accuracy", "matthews", "f1 and accuracy"):
        gold = (gold > 2).astype(float)
        said = np.where(rng.random(number) < 0.7, gold, 1 - gold)
        return Items(measure, "rows", {"gold": gold, "predicted_0": said})
    if measure == "pearson and spearman":
        return Items(measure, "rows", {"gold": gold, "predicted_0": gold + rng.normal(size=number)})
    return Items(measure, "pairs", {"prediction": gold + rng.normal(size=number), "gold": gold})


def test_folds_that_are_all_right_have_no_resample_above_one():
    weight = np.repeat([1 / 4, 1 / 3, 1 / 3], [4, 3, 3])
    estimate = Items("mean", "examples", {"value": np.ones(10), "weight": weight}).estimate(samples=50, seed=0)
    assert estimate.value == pytest.approx(1, abs=1e-12)
    assert np.allclose(estimate.resampled, 1, atol=1e-12)


def test_weighted_means_are_drawn_with_their_weights():
    rng = np.random.default_rng(0)
    value, weight = rng.random(NUMBER), rng.random(NUMBER)
    items = Items("mean", "examples", {"value": value, "weight": weight})
    estimate = items.estimate(samples=20, seed=3)
    (counts,) = resample_counts(NUMBER, samples=20, seed=3)
    expected = [np.average(value, weights=weight * drawn) for drawn in counts]
    assert estimate.value == pytest.approx(np.average(value, weights=weight), abs=1e-12)
    assert np.allclose(estimate.resampled, expected, atol=1e-12)


PLAIN = {
    "accuracy": accuracy_score,
    "f1": f1_score,
    "matthews": matthews_corrcoef,
    "pearson": lambda gold, said: stats.pearsonr(gold, said).statistic,
    "spearman": lambda gold, said: stats.spearmanr(gold, said).statistic,
}


def plain(items, rows):
    """The score of some rows, by other libraries."""
    columns = {name: values[rows] for name, values in items.columns.items()}
    if items.measure == "mean":
        return columns["value"].mean()
    gold = columns["gold"]
    if items.measure == "average precision":
        return average_precision_score(gold, columns["prediction"])
    if items.measure == "macro f1":
        said = [one for name, one in columns.items() if name != "gold"]
        return np.mean([f1_score(gold, one, average="macro") for one in said])
    if measure_of_trainings := OF_TRAININGS.get(items.measure):
        return np.mean([PLAIN[metric](gold, columns["predicted_0"]) for metric in measure_of_trainings])
    correlate = stats.spearmanr if items.measure == "spearman" else stats.pearsonr
    return correlate(columns["prediction"], gold).statistic


MEASURES = ["mean", "spearman", "pearson", "average precision", "macro f1", *OF_TRAININGS]


@pytest.mark.parametrize("measure", MEASURES)
def test_score_and_resamples_are_those_of_the_rows_that_were_drawn(measure):
    items = made(measure)
    estimate = items.estimate(samples=30, seed=3)
    assert items.score == estimate.value == pytest.approx(plain(items, np.arange(NUMBER)))
    (counts,) = resample_counts(NUMBER, samples=30, seed=3)
    expected = [plain(items, np.repeat(np.arange(NUMBER), drawn.astype(int))) for drawn in counts]
    assert estimate.resampled == pytest.approx(np.array(expected))


@pytest.mark.parametrize("measure", MEASURES)
def test_the_same_seed_gives_the_same_numbers(measure):
    items = made(measure)
    first, again, other = (items.estimate(samples=50, seed=seed).resampled for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.integers(0, 100))
def test_macro_f1_is_scikit_learns(gold, seed):
    said = np.random.default_rng(seed).integers(0, 4, len(gold))
    items = Items("macro f1", "examples", {"gold": np.array(gold, float), "predicted_0": said.astype(float)})
    assert items.score == pytest.approx(f1_score(gold, said, average="macro", zero_division=0))


def test_several_trainings_are_drawn_with_the_rows():
    gold = np.arange(NUMBER) % 2.0
    said = {f"predicted_{n}": np.where(np.arange(NUMBER) % (n + 3), gold, 1 - gold) for n in range(3)}
    each = [Items("accuracy", "rows", {"gold": gold, "predicted_0": one}) for one in said.values()]
    together = Items("accuracy", "rows", {"gold": gold, **said})
    assert together.score == pytest.approx(np.mean([one.score for one in each]))
    alone = [one.estimate(samples=300, seed=1) for one in each]
    drawn = together.estimate(samples=300, seed=1)
    assert np.std(drawn.resampled) > np.std(np.mean([one.resampled for one in alone], axis=0))
    # No training is more than another: all come from the same rows in each resample.
    low, high = (of([one.resampled for one in alone], axis=0) for of in (np.min, np.max))
    assert ((drawn.resampled >= low - 1e-12) & (drawn.resampled <= high + 1e-12)).all()


def test_a_task_is_the_mean_of_its_parts():
    parts = {
        ("test", "de"): made("spearman", 1),
        ("test", "zh"): made("spearman", 2),
        ("dev", "zh"): made("mean", 3, 9),
    }
    estimates = [one.estimate(samples=40, seed=0) for one in parts.values()]
    mean = mean_of_estimates(estimates)
    assert mean.value == pytest.approx(np.mean([one.value for one in estimates]))
    assert mean.resampled == pytest.approx(np.mean([one.resampled for one in estimates], axis=0))


def test_what_cannot_be_resampled():
    assert made("spearman", number=3).can_be_resampled
    assert not made("spearman", number=2).can_be_resampled
    assert not made("pearson and spearman", number=2).can_be_resampled
    assert not Items("mean", "queries", {"value": np.array([1.0])}).can_be_resampled
    assert not Items("mean", "queries", {"value": np.array([1.0, np.nan])}).can_be_resampled
    with pytest.raises(ValueError, match="measure must be one of"):
        Items("median", "queries", {"value": np.zeros(3)})


def scores():
    parts = {
        ("test", "de"): PartItems(0.5, "c1", made("macro f1")),
        ("test", "中文"): PartItems(0.7, "c2", made("macro f1", 2, 11)),
    }
    lacking = {ONLY_PART: PartItems(float("nan"), "c3", None, "its score is not taken apart")}
    return [
        KeptScore("模型/a", "任务", "Classification", "f1", parts),
        KeptScore("b", "other", "STS", "cosine_spearman", lacking),
    ]


def test_what_is_kept_is_read_again(tmp_path):
    given_scores = scores()
    keep_scores(tmp_path, given_scores)
    first, second = read_index(tmp_path)
    assert (first.model, first.data, first.type, first.metric) == ("模型/a", "任务", "Classification", "f1")
    assert first.content == given_scores[0].content
    assert first.score == pytest.approx(0.6)
    assert first.over == "51 examples"
    expected = given_scores[0].part_estimates(samples=20, seed=1)
    found = first.part_estimates(samples=20, seed=1)
    assert list(found) == list(expected)
    assert all((found[part].resampled == expected[part].resampled).all() for part in expected)
    assert second.reason == "its score is not taken apart"
    assert np.isnan(second.score)
    assert second.part_estimates(samples=20, seed=1) == {}


def test_parts_of_which_some_lack_items_say_how_many():
    score = scores()[0]
    parts = {**score.parts, ("dev", "de"): PartItems(0.1, "c4", None, "no predictions")}
    assert KeptScore("a", "t", "STS", "m", parts).reason == "1 of 3 parts: no predictions"
    assert KeptScore("a", "t", "STS", "m", parts).over == ""


@pytest.mark.parametrize("damage", ["index", "table", "entry"])
def test_a_damaged_folder_is_named(tmp_path, damage):
    keep_scores(tmp_path, scores())
    if damage == "index":
        (tmp_path / INDEX).write_text("[{", encoding="utf-8")
    elif damage == "entry":
        (tmp_path / INDEX).write_text('[{"model": "a"}]', encoding="utf-8")
    else:
        for table in (tmp_path / "items").iterdir():
            table.unlink()
    with pytest.raises(UserError, match="evaluate into"):
        read_index(tmp_path)
