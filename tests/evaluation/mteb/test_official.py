"""Local data beside the statistics that mteb ships: the same, or what differs in words."""

import mteb
import pytest
import tiny_mirror as tiny
from mteb.abstasks.task_metadata import TaskMetadata

from embedtrain.evaluation.mteb.mirror import Mirror
from embedtrain.evaluation.mteb.official import Verdict, compare_with_official
from embedtrain.evaluation.mteb.task_data import fill, find_data

ROWS = {"sentence1": ["ab", "cde", "ab", "f"], "sentence2": ["cde", "ab", "cde", "gh"], "score": [0.0, 5.0, 2.0, 3.0]}


def published(**changed):
    """What mteb would ship for the rows above, counted by hand."""
    text = {"min_text_length": 1, "max_text_length": 3}
    return {
        "num_samples": 4,
        "number_of_characters": 18,
        "unique_pairs": 2,
        "text1_statistics": {"total_text_length": 8, "average_text_length": 2.0, "unique_texts": 3, **text},
        "text2_statistics": {
            "total_text_length": 10,
            "average_text_length": 2.5,
            "unique_texts": 3,
            "min_text_length": 2,
            "max_text_length": 3,
        },
        "image1_statistics": None,
        "label_statistics": {"min_score": 0.0, "avg_score": 2.5, "max_score": 5.0},
        **changed,
    }


@pytest.fixture
def verdict(tmp_path, monkeypatch):
    """The verdict on the rows above, with the given statistics as those that mteb ships."""
    tiny.write(tmp_path / "STSBenchmark" / "test.parquet", ROWS)

    def of(stats):
        monkeypatch.setattr(TaskMetadata, "descriptive_stats", property(lambda _: stats))
        data = find_data(mteb.get_task("STSBenchmark"), Mirror.at(tmp_path).folder("STSBenchmark"))
        fill(data)
        return compare_with_official(data)

    return of


def test_the_same(verdict):
    found = verdict({"test": published()})
    assert found.is_official
    assert str(found) == "official data"


def test_pairs_counted_in_either_way(verdict):
    """("ab", "cde") and ("cde", "ab") are one pair or two."""
    assert verdict({"test": published(unique_pairs=3)}).is_official
    assert str(verdict({"test": published(unique_pairs=4)})) == ("differs: test: unique pairs 2, official 4 (2 fewer)")


def test_a_difference_is_told_once(verdict):
    stats = published(number_of_characters=20)
    stats["text1_statistics"] |= {"total_text_length": 10, "average_text_length": 2.5}
    found = verdict({"test": stats})
    assert not found.is_official
    assert str(found) == "differs: test: text1 characters 8, official 10 (2 fewer)"


def test_scores(verdict):
    stats = published(label_statistics={"min_score": 0.0, "avg_score": 2.25, "max_score": 5.0})
    assert str(verdict({"test": stats})) == "differs: test: label avg score 2.5, official 2.25"


def test_no_statistics(verdict):
    found = verdict({"dev": published()})
    assert not found.is_official
    assert str(found) == "unknown: mteb ships no statistics of test"
    assert str(verdict(None)) == "unknown: mteb ships no statistics of test"


def test_many_differences_are_counted(verdict):
    found = Verdict(1, tuple(f"test: {n}" for n in range(7)))
    assert str(found) == "differs: test: 0; test: 1; test: 2; and 4 more"
    assert Verdict.from_dict(found.as_dict()) == found


def labels_of(tmp_path, monkeypatch, labels, counts):
    name = "Banking77Classification"
    for split in ("train", "test"):
        tiny.write(tmp_path / name / f"{split}.jsonl", {"text": [f"{split} {n}" for n in range(3)], "label": labels})
    published = {"label_statistics": {"labels": {label: {"count": count} for label, count in counts.items()}}}
    monkeypatch.setattr(TaskMetadata, "descriptive_stats", property(lambda _: {"test": published, "train": published}))
    data = find_data(mteb.get_task(name), Mirror.at(tmp_path).folder(name))
    fill(data)
    return str(compare_with_official(data))


def test_labels(tmp_path, monkeypatch):
    assert labels_of(tmp_path, monkeypatch, [4, 4, 7], {"4": 2, "7": 1}) == "official data"
    assert labels_of(tmp_path, monkeypatch, [4, 7, 7], {"4": 2, "7": 1}) == (
        "differs: test: 2 labels occur otherwise ('4' 1 times, official 2); "
        "train: 2 labels occur otherwise ('4' 1 times, official 2)"
    )
    assert "labels are named otherwise ('a', 'b' ..., official '4', '7' ...)" in labels_of(
        tmp_path, monkeypatch, ["a", "a", "b"], {"4": 2, "7": 1}
    )


def test_subsets_have_statistics_of_their_own(tmp_path, monkeypatch):
    name = "STSBenchmarkMultilingualSTS"
    tiny.write(tmp_path / name / "zh" / "test.parquet", ROWS)
    stats = {"test": {"num_samples": 999, "hf_subset_descriptive_stats": {"zh": published(), "de": published()}}}
    monkeypatch.setattr(TaskMetadata, "descriptive_stats", property(lambda _: stats))
    data = find_data(mteb.get_task(name), Mirror.at(tmp_path).folder(name))
    fill(data)
    assert compare_with_official(data).is_official
    stats["test"]["hf_subset_descriptive_stats"]["zh"]["num_samples"] = 5
    assert str(compare_with_official(data)) == "differs: zh test: samples 4, official 5 (1 fewer)"


def test_retrieval(tmp_path):
    """Against mteb's real statistics of SciFact, which a tiny mirror does not have."""
    tiny.retrieval(tmp_path / "SciFact")
    data = find_data(mteb.get_task("SciFact"), Mirror.at(tmp_path).folder("SciFact"))
    fill(data)
    found = compare_with_official(data)
    assert "test: documents 10, official 5,183 (5,173 fewer)" in found.differences
    assert "test: queries 2, official 300 (298 fewer)" in found.differences
    assert any("relevant docs" in difference for difference in found.differences)
