"""Every task type's score is taken apart into items that give it again, and so has an interval."""

import mteb
import numpy as np
import pytest
import tiny_mirror as tiny
from sklearn.metrics import f1_score

from embedtrain.evaluation.mteb.embedding_cache import EmbeddingCache
from embedtrain.evaluation.mteb.encoder import LocalEncoder, model_meta
from embedtrain.evaluation.mteb.item_scores import items_of_parts
from embedtrain.evaluation.mteb.mirror import Mirror
from embedtrain.evaluation.mteb.recording import Recorded, recording
from embedtrain.evaluation.mteb.running import Results
from embedtrain.evaluation.mteb.task_content import content_of_part
from embedtrain.evaluation.mteb.task_data import empty, fill, find_data
from embedtrain.models import load_biencoder, resolve_model

# Task, its data, what its items are, and how many the tiny mirror has.
TASKS = {
    "STSBenchmark": (tiny.sts, "pairs", 12),
    "TwitterURLCorpus": (tiny.pair_classification, "pairs", 12),
    "Banking77Classification": (tiny.classification, "examples", 9),
    "TwentyNewsgroupsClustering.v2": (tiny.clustering, "experiments", 10),
    "TwentyNewsgroupsClustering": (tiny.legacy_clustering, "sets", 2),
    "SciFact": (tiny.retrieval, "queries", 2),
    "AskUbuntuDupQuestions": (lambda folder: tiny.retrieval(folder, ranked=True), "queries", 2),
    "BornholmBitextMining": (tiny.bitext, "sentences", 8),
    "SummEvalSummarization.v2": (tiny.summaries, "texts", 3),
}


@pytest.fixture(scope="module")
def encoder(tiny_model, tmp_path_factory):
    source = resolve_model(str(tiny_model))
    model = load_biencoder(source, device="cpu")
    cache = EmbeddingCache(tmp_path_factory.mktemp("cache"), model="tiny", max_bytes=2**24)
    return LocalEncoder(
        model, meta=model_meta(source, model, precision="fp32"), cache=cache, precision="fp32", batch_size=8
    )


def data_of(task, folder):
    return find_data(task, Mirror.at(folder.parent).folder(folder.name))


def only_part(done):
    (part,) = done.items.values()
    return part


@pytest.mark.parametrize("name", list(TASKS))
def test_the_items_of_each_type(name, encoder, tmp_path):
    write, over, number = TASKS[name]
    write(tmp_path / name)
    done = Results(tmp_path / "run").run(encoder, data_of(mteb.get_task(name), tmp_path / name), fingerprint="1")
    part = only_part(done)
    assert part.reason == ""
    assert (part.items.over, len(part.items)) == (over, number)
    estimate = part.items.estimate(samples=200, seed=1)
    assert estimate.value == pytest.approx(done.result.get_score(), abs=1e-5)
    interval = estimate.interval()
    assert interval.low <= interval.value + 1e-12
    assert interval.value <= interval.high + 1e-12
    again = part.items.estimate(samples=200, seed=1)
    assert (again.resampled == estimate.resampled).all()
    # mteb finds its own file, and nothing else, as it was.
    loaded = mteb.ResultCache(tmp_path / "run").load_results(include_remote=False)
    assert loaded.model_results[0].task_results[0].get_score() == done.result.get_score()


@pytest.mark.parametrize("name", ["STSBenchmark", "SciFact", "TwentyNewsgroupsClustering.v2"])
def test_items_are_kept_with_the_result(name, encoder, tmp_path):
    TASKS[name][0](tmp_path / name)
    data, results = data_of(mteb.get_task(name), tmp_path / name), Results(tmp_path / "run")
    first = results.run(encoder, data, fingerprint="1")
    kept = results.kept(data, encoder.mteb_model_meta, fingerprint="1")
    assert only_part(kept).content == only_part(first).content
    for column, values in only_part(first).items.columns.items():
        assert (only_part(kept).items.columns[column] == values).all()
    first.items_file.unlink()
    assert results.kept(data, encoder.mteb_model_meta, fingerprint="1") is None


def test_a_second_model_gets_the_same_draws(encoder, tmp_path):
    """A clustering draws its documents from the task's generator, which the first model has moved on."""
    name = "TwentyNewsgroupsClustering.v2"
    tiny.clustering(tmp_path / name)
    data, results = data_of(mteb.get_task(name), tmp_path / name), Results(tmp_path / "run")
    scores = [results.run(encoder, data, fingerprint="1").result.get_score() for _ in range(2)]
    assert scores[0] == scores[1]


def test_subsets_and_languages_in_columns(encoder, tmp_path):
    name = "STSBenchmarkMultilingualSTS"
    tiny.sts(tmp_path / name / "zh")
    tiny.sts(tmp_path / name / "de", split="dev", rows=9)
    done = Results(tmp_path / "run").run(encoder, data_of(mteb.get_task(name), tmp_path / name), fingerprint="1")
    assert {part: len(one.items) for part, one in done.items.items()} == {("test", "zh"): 12, ("dev", "de"): 9}
    task = mteb.get_task("FloresBitextMining", hf_subsets=["eng_Latn-deu_Latn", "deu_Latn-eng_Latn"])
    first, second = tiny.pairs(6)
    tiny.write(tmp_path / "FloresBitextMining" / "devtest.parquet", {"eng_Latn": first, "deu_Latn": second})
    done = Results(tmp_path / "run").run(encoder, data_of(task, tmp_path / "FloresBitextMining"), fingerprint="1")
    assert {subset for _, subset in done.items} == set(task.hf_subsets)
    assert [one.reason for one in done.items.values()] == ["", ""]


def test_macro_f1_and_best_accuracy(encoder, tmp_path):
    """The rarer main scores, on tasks that are made to have them."""
    task = mteb.get_task("Banking77Classification")
    task.metadata = task.metadata.model_copy(update={"main_score": "f1"})
    tiny.classification(tmp_path / "b")
    part = only_part(Results(tmp_path / "run").run(encoder, data_of(task, tmp_path / "b"), fingerprint="1"))
    assert part.items.measure == "macro f1"
    gold = part.items.columns["gold"]
    expected = np.mean(
        [f1_score(gold, said, average="macro") for name, said in part.items.columns.items() if name != "gold"]
    )
    assert part.items.score == pytest.approx(expected)
    task = mteb.get_task("TwitterURLCorpus")
    task.metadata = task.metadata.model_copy(update={"main_score": "max_accuracy"})
    tiny.pair_classification(tmp_path / "t")
    done = Results(tmp_path / "run").run(encoder, data_of(task, tmp_path / "t"), fingerprint="1")
    assert set(only_part(done).items.columns["value"]) == {0.0, 1.0}
    assert only_part(done).items.score == pytest.approx(done.result.get_score())


@pytest.mark.parametrize(
    ("name", "main_score"),
    [
        ("STSBenchmark", "euclidean_pearson"),
        ("SciFact", "mrr_at_10"),
        ("SciFact", "recall_at_3"),
        ("SciFact", "accuracy"),
    ],
)
def test_other_main_scores(name, main_score, encoder, tmp_path):
    task = mteb.get_task(name)
    task.metadata = task.metadata.model_copy(update={"main_score": main_score})
    TASKS[name][0](tmp_path / name)
    done = Results(tmp_path / "run").run(encoder, data_of(task, tmp_path / name), fingerprint="1")
    assert only_part(done).reason == ""
    assert only_part(done).items.score == pytest.approx(done.result.get_score(), abs=1e-5)


def test_a_score_that_cannot_be_taken_apart_says_why(encoder, tmp_path):
    task = mteb.get_task("SciFact")
    task.metadata = task.metadata.model_copy(update={"main_score": "nauc_ndcg_at_10_max"})
    tiny.retrieval(tmp_path / "s")
    part = only_part(Results(tmp_path / "run").run(encoder, data_of(task, tmp_path / "s"), fingerprint="1"))
    assert part.items is None
    assert part.reason == "its score, nauc_ndcg_at_10_max, is not taken apart into items"


def test_items_that_do_not_give_the_score_are_not_kept(tmp_path):
    tiny.sts(tmp_path / "STSBenchmark")
    data = data_of(mteb.get_task("STSBenchmark"), tmp_path / "STSBenchmark")
    fill(data)
    heard = Recorded(predictions={("test", "default"): {"cosine_scores": list(range(12))}})
    (part,) = items_of_parts(data, heard, {("test", "default"): {"main_score": 0.5}}).values()
    assert part.reason == "what is known of its pairs does not give mteb's score"
    few = Recorded(predictions={("test", "default"): {"cosine_scores": [np.nan] * 12}})
    (part,) = items_of_parts(data, few, {("test", "default"): {"main_score": 0.5}}).values()
    assert part.reason == "too few pairs, or not all of them have a number"


def test_folds_of_different_size_give_their_mean(encoder, tmp_path):
    from embedtrain.evaluation.mteb.custom import custom_data

    texts, labels = [tiny.sentence(n) for n in range(31)], ["yes", "no"] * 15 + ["no"]
    path = tiny.write(tmp_path / "own.tsv", {"text": texts, "label": labels})
    done = Results(tmp_path / "run").run(encoder, custom_data(str(path), "classification"), fingerprint="1")
    assert only_part(done).reason == ""
    assert len(only_part(done).items) == 31


def test_a_task_is_as_it_was_after_listening():
    task = mteb.get_task("Banking77Classification")
    before = dict(vars(task))
    with recording(task, Recorded()):
        assert vars(task) != before
    assert vars(task) == before


def test_content_is_that_of_the_data_whatever_the_form_of_its_files(tmp_path):
    part, found = ("test", "default"), {}
    for name, ending, offset in (("a", ".parquet", 0), ("b", ".csv", 0), ("c", ".tsv", 1)):
        tiny.sts(tmp_path / name, ending=ending, offset=offset)
        data = data_of(mteb.get_task("STSBenchmark"), tmp_path / name)
        fill(data)
        found[name] = content_of_part(data, part)
        empty(data)
    assert found["a"] == found["b"] != found["c"]
    for name, rows in (("d", 24), ("e", 24)):
        tiny.classification(tmp_path / name)
        if name == "e":  # another split to learn from
            tiny.write(tmp_path / name / "train.tsv", {"text": ["x"] * rows, "label": [n % 3 for n in range(rows)]})
        data = data_of(mteb.get_task("Banking77Classification"), tmp_path / name)
        fill(data)
        found[name] = content_of_part(data, part)
    assert found["d"] != found["e"]
