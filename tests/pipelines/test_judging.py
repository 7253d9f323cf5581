"""The verdict says what the figures say, in each of the cases that can come."""

import numpy as np
import pandas as pd
import pytest

from embedtrain.evaluation.holdout import ScoredPairsDev
from embedtrain.pipelines.augsbert.judging import judge, results_table, teacher_warning
from embedtrain.pipelines.train.judging import judge_training


def predictions(**noise):
    """Predictions of the four models, each gold plus its own noise; dev and test of 300 pairs."""
    random = np.random.default_rng(0)
    parts = []
    for split in ("dev", "test"):
        score = random.uniform(0, 1, 300)
        for model, level in noise.items():
            prediction = score + random.normal(0, level, 300)
            parts.append(pd.DataFrame({"model": model, "split": split, "score": score, "prediction": prediction}))
    return pd.concat(parts, ignore_index=True)


def judged(**noise):
    return judge(predictions(**noise), teacher="3 bi-encoders", bootstrap_samples=300, seed=0)


@pytest.mark.parametrize(
    ("gold_only", "augmented", "answer", "winner"),
    [
        (0.5, 0.1, "The silver labels helped.", "augmented"),
        (0.2, 0.5, "The silver labels hurt.", "gold_only"),
    ],
)
def test_the_answer_comes_first_and_the_winner_by_dev(gold_only, augmented, answer, winner):
    result = judged(zero_shot=0.6, teacher=0.1, gold_only=gold_only, augmented=augmented)
    assert result["verdict"].startswith(answer)
    assert result["winner"] == winner
    assert "The teacher (3 bi-encoders) was better than the student that gold alone makes" in result["verdict"]
    assert result["warnings"] == []


@pytest.mark.parametrize(
    ("teacher", "augmented", "winner"),
    [
        (0.2, 0.27, "augmented"),  # a better teacher is believed for a little
        (0.4, 0.27, "gold_only"),  # a worse one is not
        (0.4, 0.1, "augmented"),  # but for a gain that is no chance
    ],
)
def test_a_teacher_that_knows_no_more_has_to_bring_more_than_chance(teacher, augmented, winner):
    result = judged(zero_shot=0.6, teacher=teacher, gold_only=0.3, augmented=augmented)
    dev = {model: result["models"][model]["dev"]["spearman"] for model in ("gold_only", "augmented")}
    assert dev["augmented"] > dev["gold_only"]
    assert result["winner"] == winner
    told = "with such a teacher the gain has to be more than chance" in result["verdict"]
    assert told == (winner == "gold_only")
    assert f"Kept in model/: {'gold + silver, by dev' if winner == 'augmented' else 'gold only ('}" in result["verdict"]


def test_equal_students_keep_the_simpler_one_and_say_that_nothing_shows():
    table = predictions(zero_shot=0.6, teacher=0.3, gold_only=0.2)
    same = table[table["model"] == "gold_only"].assign(model="augmented")
    result = judge(pd.concat([table, same], ignore_index=True), teacher="x", bootstrap_samples=300, seed=0)
    assert result["verdict"].startswith("The silver labels made no difference that this test set can show.")
    assert result["winner"] == "gold_only"
    assert result["paired_difference"]["difference"] == 0


def test_a_weak_teacher_and_training_without_gain_are_warned_about():
    result = judged(zero_shot=0.1, teacher=0.4, gold_only=0.3, augmented=0.3)
    assert any("The teacher (3 bi-encoders) is no better" in warning for warning in result["warnings"])
    assert any("Training did not improve" in warning for warning in result["warnings"])
    assert "no better than the student that gold alone makes" in result["verdict"]


def test_a_gain_that_dev_cannot_show_is_warned_about():
    table = predictions(zero_shot=0.3, teacher=0.1, augmented=0.6)
    untrained = table[table["model"] == "zero_shot"]
    # A hair better than the untrained model on dev, as a student of a few steps may be.
    better = untrained["prediction"] + np.where(untrained["score"] > 0.999, 0.5, 0) + 1e-3 * untrained["score"]
    hardly = untrained.assign(model="gold_only", prediction=better)
    result = judge(pd.concat([table, hardly], ignore_index=True), teacher="x", bootstrap_samples=300, seed=0)
    dev = {model: result["models"][model]["dev"]["spearman"] for model in ("zero_shot", "gold_only")}
    assert dev["gold_only"] > dev["zero_shot"]
    told = [warning for warning in result["warnings"] if "cannot be told from 300 dev pairs" in warning]
    clear = judged(zero_shot=0.6, teacher=0.1, gold_only=0.2, augmented=0.3)["warnings"]
    assert (len(told), clear) == (1, [])


def test_a_teacher_is_warned_about_unless_it_is_better_than_what_gold_alone_makes():
    assert teacher_warning("x", 0.9, 0.8, zero_shot_dev=0.95) is None
    equal = teacher_warning("3 bi-encoders", 0.8, 0.8, zero_shot_dev=0.6)
    assert "80.00 against 80.00 (60.00 before any training)" in equal
    assert "(3 bi-encoders)" in equal
    assert "unlikely to pay" in equal
    assert "likely to hurt" in teacher_warning("x", 0.55, 0.8, zero_shot_dev=0.6)


@pytest.mark.parametrize(
    ("teacher", "option"),
    [
        ("cross-encoder + student", "--teacher-training.epochs"),
        ("2 cross-encoders", "--teacher-training.epochs"),
        ("bi-encoder + student", "--bi-encoder-training.epochs"),
    ],
)
def test_the_training_that_may_help_is_the_teachers_own(teacher, option):
    assert f"more {option} may help" in teacher_warning(teacher, 0.5, 0.6, zero_shot_dev=0.4)


def test_the_winner_is_chosen_by_dev_even_when_test_says_otherwise():
    table = predictions(zero_shot=0.6, teacher=0.3, gold_only=0.1, augmented=0.5)
    dev = table["split"] == "dev"
    swap = {"gold_only": "augmented", "augmented": "gold_only"}
    table.loc[dev, "model"] = table.loc[dev, "model"].replace(swap)
    result = judge(table, teacher="x", bootstrap_samples=300, seed=0)
    assert result["winner"] == "augmented"
    assert result["verdict"].startswith("The silver labels hurt.")


def test_the_table_has_a_row_a_model_and_marks_the_kept_one():
    result = judged(zero_shot=0.6, teacher=0.3, gold_only=0.2, augmented=0.4)
    lines = results_table({**result, "teacher": {"name": "3 bi-encoders"}}).splitlines()
    assert [line.split("  ")[0] for line in lines[2:6]] == [
        "zero-shot",
        "teacher (3 bi-encoders)",
        "gold only *",
        "gold + silver",
    ]
    assert f"{100 * result['models']['gold_only']['test']['spearman']:.2f}" in lines[4]


@pytest.mark.parametrize(
    ("distance", "expected", "other"),
    [(0.0, "Dev is too easy", "learning-rate"), (0.3, "--training.learning-rate", "too easy")],
)
def test_what_may_help_depends_on_whether_anything_was_left_to_gain(distance, expected, other):
    gold = np.linspace(0, 1, 40)
    dev = ScoredPairsDev(pd.DataFrame({"sentence1": ["a"] * 40, "sentence2": ["b"] * 40, "score": gold}))
    predicted = gold + distance * np.random.default_rng(0).normal(size=40)
    predictions = {("zero_shot", "dev"): predicted, ("trained", "dev"): predicted}
    judged = judge_training(predictions, {"dev": dev}, held_out=True, bootstrap_samples=100, seed=0)
    assert expected in judged["warnings"][0]
    assert other not in judged["warnings"][0]
