"""Every text task type runs on a tiny mirror, without a network, and its result file loads in mteb's own loader."""

import mteb
import pytest
import tiny_mirror as tiny

from embedtrain.evaluation.mteb.embedding_cache import EmbeddingCache
from embedtrain.evaluation.mteb.encoder import LocalEncoder, model_meta
from embedtrain.evaluation.mteb.mirror import Mirror
from embedtrain.evaluation.mteb.offline import FetchRefused, no_fetching
from embedtrain.evaluation.mteb.running import Results
from embedtrain.evaluation.mteb.task_data import find_data
from embedtrain.models import load_biencoder, resolve_model

TASKS = {
    "STSBenchmark": tiny.sts,
    "TwitterURLCorpus": tiny.pair_classification,
    "Banking77Classification": tiny.classification,
    "TwentyNewsgroupsClustering.v2": tiny.clustering,
    "TwentyNewsgroupsClustering": tiny.legacy_clustering,
    "SciFact": tiny.retrieval,
    "AskUbuntuDupQuestions": lambda folder: tiny.retrieval(folder, ranked=True),
    "EmitClassification": tiny.multilabel,
    "RuSciBenchYearPublRegression": lambda folder: tiny.regression(folder / "yearpubl_en"),
    "IFIRAila": tiny.instructed,
    "Core17InstructionRetrieval": tiny.instructions,
    "mFollowIR": lambda folder: tiny.instructions(folder / "zho"),
    "WebQAT2TRetrieval": tiny.retrieval,
    "BornholmBitextMining": tiny.bitext,
    "SummEvalSummarization.v2": tiny.summaries,
}


@pytest.fixture(scope="module")
def source(tiny_model):
    return resolve_model(str(tiny_model))


@pytest.fixture(scope="module")
def loaded(source):
    return load_biencoder(source, device="cpu")


@pytest.fixture
def encoder(source, loaded, tmp_path):
    cache = EmbeddingCache(tmp_path / "embeddings", model="tiny", max_bytes=2**24)
    meta = model_meta(source, loaded, precision="fp32")
    return LocalEncoder(loaded, meta=meta, cache=cache, precision="fp32", batch_size=8)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_each_type(name, encoder, tmp_path):
    TASKS[name](tmp_path / "mirror" / name)
    data = find_data(mteb.get_task(name), Mirror.at(tmp_path / "mirror").folder(name))
    results = Results(tmp_path / "run")
    done = results.run(encoder, data, fingerprint="1")
    assert not done.is_kept
    assert done.result.task_name == name
    assert -1 <= done.result.get_score() <= 1
    loaded = mteb.ResultCache(tmp_path / "run").load_results(include_remote=False, require_model_meta=True)
    (of_model,) = loaded.model_results
    assert of_model.model_name == encoder.mteb_model_meta.name
    assert [result.task_name for result in of_model.task_results] == [name]


def test_scores_are_those_of_plain_mteb(encoder, loaded, tmp_path):
    """The cache, the batches and the file formats change nothing: the same numbers as mteb's own wrapper gives."""
    from datasets import Dataset, DatasetDict

    name = "Banking77Classification"
    TASKS[name](tmp_path / name)
    ours = Results(tmp_path / "run").run(
        encoder, find_data(mteb.get_task(name), Mirror.at(tmp_path).folder(name)), fingerprint="1"
    )
    plain = mteb.get_task(name)
    tables = {}
    for split in ("train", "test"):
        header, *lines = (tmp_path / name / f"{split}.tsv").read_text().splitlines()
        assert header == "text\tlabel"
        rows = [line.split("\t") for line in lines]
        tables[split] = Dataset.from_dict({"text": [row[0] for row in rows], "label": [int(row[1]) for row in rows]})
    plain.dataset, plain.data_loaded = DatasetDict(tables), True
    expected = mteb.evaluate(loaded, plain, cache=None, co2_tracker=False, show_progress_bar=False)
    assert ours.result.get_score() == pytest.approx(expected.task_results[0].get_score(), abs=1e-6)


def test_subsets_with_different_splits(encoder, tmp_path):
    name = "STSBenchmarkMultilingualSTS"
    for subset, split in (("zh", "test"), ("de", "test"), ("de", "dev")):
        tiny.sts(tmp_path / name / subset, split=split, offset=len(subset + split))
    data = find_data(mteb.get_task(name), Mirror.at(tmp_path).folder(name))
    assert set(data.parts) == {("test", "zh"), ("test", "de"), ("dev", "de")}
    assert data.coverage.startswith("3 of 20 splits and subsets")
    done = Results(tmp_path / "run").run(encoder, data, fingerprint="1")
    found = {(split, entry["hf_subset"]) for split, entries in done.result.scores.items() for entry in entries}
    assert found == set(data.parts)
    assert sorted(data.task.hf_subsets) == sorted(data.task.metadata.hf_subsets)  # as it was before


def test_languages_in_columns(encoder, tmp_path):
    name = "FloresBitextMining"
    task = mteb.get_task(name, hf_subsets=["eng_Latn-deu_Latn", "deu_Latn-eng_Latn"])
    assert task.parallel_subsets
    first, second = tiny.pairs(6)
    tiny.write(tmp_path / name / "devtest.parquet", {"eng_Latn": first, "deu_Latn": second})
    done = Results(tmp_path / "run").run(encoder, find_data(task, Mirror.at(tmp_path).folder(name)), fingerprint="1")
    assert {entry["hf_subset"] for entry in done.result.scores["devtest"]} == set(task.hf_subsets)


def test_done_tasks_are_kept_until_something_changes(encoder, tmp_path):
    tiny.sts(tmp_path / "STSBenchmark")
    data = find_data(mteb.get_task("STSBenchmark"), Mirror.at(tmp_path).folder("STSBenchmark"))
    results, meta = Results(tmp_path / "run"), encoder.mteb_model_meta
    assert results.kept(data, meta, fingerprint="1") is None
    done = results.run(encoder, data, fingerprint="1")
    kept = results.kept(data, meta, fingerprint="1")
    assert kept is not None
    assert kept.is_kept
    assert kept.result.get_score() == done.result.get_score()
    assert results.kept(data, meta, fingerprint="2") is None
    other_model = meta.model_copy(update={"revision": "0" * 40})
    assert results.kept(data, other_model, fingerprint="1") is None
    done.file.write_text(done.file.read_text().replace("cosine", "sine", 1))
    assert results.kept(data, meta, fingerprint="1") is None


def test_a_result_of_more_subsets_serves_for_fewer(encoder, tmp_path):
    name = "STSBenchmarkMultilingualSTS"
    for subset in ("zh", "de"):
        tiny.sts(tmp_path / name / subset)
    folder, results = Mirror.at(tmp_path).folder(name), Results(tmp_path / "run")
    results.run(encoder, find_data(mteb.get_task(name), folder), fingerprint="1")
    fewer = find_data(mteb.get_task(name, hf_subsets=["zh"]), folder)
    assert fewer.parts == (("test", "zh"),)
    assert results.kept(fewer, encoder.mteb_model_meta, fingerprint="1") is not None
    tiny.sts(tmp_path / name / "fr")
    more = find_data(mteb.get_task(name, hf_subsets=["zh", "fr"]), folder)
    assert results.kept(more, encoder.mteb_model_meta, fingerprint="1") is None


def test_nothing_can_be_fetched(tmp_path):
    task = mteb.get_task("STSBenchmark")
    with no_fetching(), pytest.raises(FetchRefused):
        task.load_data()
    retrieval = mteb.get_task("SciFact")
    with no_fetching(), pytest.raises(Exception, match=r"(?i)offline|fetch"):
        retrieval.load_data()


def test_a_text_is_computed_once_for_all_tasks(encoder, tmp_path):
    """Two tasks over the same sentences: the second computes nothing."""
    counted = []
    compute = encoder.model.encode
    encoder.model.encode = lambda texts, **named: counted.extend(texts) or compute(texts, **named)
    try:
        for name in ("STSBenchmark", "STS12"):
            tiny.sts(tmp_path / name)
            data = find_data(mteb.get_task(name), Mirror.at(tmp_path).folder(name))
            Results(tmp_path / "run").run(encoder, data, fingerprint="1")
    finally:
        del encoder.model.encode
    assert counted
    assert len(counted) == len(set(counted))
    assert encoder.cache.reused > 0
