"""``embedtrain evaluate sts`` and ``pairs`` from files to tables, with tiny models and part of the sample data."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES, build_tiny_model
from scipy import stats
from sentence_transformers import SentenceTransformer, util
from sklearn import metrics as sklearn_metrics

from embedtrain.cli import main
from embedtrain.pipelines.evaluate.options import PairsOptions, STSOptions
from embedtrain.pipelines.evaluate.pairs import evaluate_pairs
from embedtrain.pipelines.evaluate.sts import evaluate_sts

PAIRS = 60


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("other"), layers=1)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    frame = pd.read_csv(SAMPLES / "en_test.tsv", sep="\t", quoting=3).head(PAIRS)
    path = tmp_path_factory.mktemp("data") / "scored.tsv"
    frame.to_csv(path, sep="\t", index=False, quoting=3)
    return path, frame


@pytest.fixture(scope="module")
def labelled(scored):
    _, frame = scored
    path = scored[0].with_name("labelled.csv")
    frame.assign(label=(frame["score"] >= 3).astype(int)).drop(columns="score").to_csv(path, index=False)
    return path, (frame["score"] >= 3).to_numpy()


def common(**more):
    return {"bootstrap_samples": 200, "device": "cpu", **more}


def embeddings_of(model, frame):
    loaded = SentenceTransformer(str(model), device="cpu")
    return [loaded.encode(frame[column].tolist()) for column in ("sentence1", "sentence2")]


def test_each_similarity_is_that_of_sentence_transformers(tiny_model, scored):
    path, frame = scored
    found = evaluate_sts(STSOptions(model=[str(tiny_model)], data=[str(path)], dims=[8], **common())).metrics
    first, second = embeddings_of(tiny_model, frame)
    sizes = {size["name"]: size for size in found["models"][str(tiny_model)][str(path)]}
    assert list(sizes) == ["full", "8 dims", "int8", "binary"]
    functions = {
        "cosine": util.pairwise_cos_sim,
        "dot": util.pairwise_dot_score,
        "euclidean": util.pairwise_euclidean_sim,
        "manhattan": util.pairwise_manhattan_sim,
    }
    for name, (a, b) in {"full": (first, second), "8 dims": (first[:, :8], second[:, :8])}.items():
        for similarity, function in functions.items():
            scores = sizes[name]["scores"][similarity]
            # Pairs of one sentence twice have cosines that differ in the last bit of fp32 alone.
            predicted = np.round(function(a, b).numpy().astype(float), 5)
            assert scores["spearman"] == pytest.approx(stats.spearmanr(predicted, frame["score"]).statistic, abs=2e-3)
            assert scores["pearson"] == pytest.approx(stats.pearsonr(predicted, frame["score"]).statistic, abs=1e-4)
            assert scores["ci95"][0] <= scores["spearman"] <= scores["ci95"][1]
            assert scores["pearson_ci95"][0] <= scores["pearson"] <= scores["pearson_ci95"][1]
    assert sizes["full"]["against_full"] is None
    lost = sizes["8 dims"]["scores"]["cosine"]["spearman"] - sizes["full"]["scores"]["cosine"]["spearman"]
    assert sizes["8 dims"]["against_full"]["difference"] == pytest.approx(lost)


def test_average_precision_f1_and_accuracy_are_sklearn_s(tiny_model, scored, labelled):
    path, labels = labelled
    found = evaluate_pairs(PairsOptions(model=[str(tiny_model)], data=[str(path)], **common())).metrics
    scores = found["models"][str(tiny_model)][str(path)]
    a, b = embeddings_of(tiny_model, scored[1])
    cosines = util.pairwise_cos_sim(a, b).numpy()
    assert scores["average_precision"] == pytest.approx(
        sklearn_metrics.average_precision_score(labels, cosines), abs=1e-3
    )
    taken = cosines >= scores["f1_threshold"]
    assert scores["f1"] == pytest.approx(sklearn_metrics.f1_score(labels, taken), abs=1e-3)
    assert found["data"][str(path)] == {"pairs": PAIRS, "matches": int(labels.sum())}


@pytest.mark.parametrize("kind", ["sts", "pairs"])
def test_the_command_shows_tables_and_keeps_figures(kind, tiny_model, other_model, scored, labelled, tmp_path, capsys):
    data = scored[0] if kind == "sts" else labelled[0]
    output = tmp_path / "out"
    words = ["evaluate", kind, "--model", str(tiny_model), "--data", str(data), "--model", str(other_model)]
    words += ["--output", str(output), "--bootstrap-samples", "200", "--device", "cpu"]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert f"{data}: {PAIRS} pairs" in shown.out
    assert "95 % interval" in shown.out
    # Both models lie in folders called st, so that only whole paths tell them apart.
    assert f"{tiny_model} - {other_model}" in shown.out
    metrics = json.loads((output / "metrics.json").read_text())
    assert list(metrics["models"]) == [str(tiny_model), str(other_model)]
    (difference,) = metrics["differences"]
    assert difference["ci95"][0] <= difference["difference"] <= difference["ci95"][1]
    assert metrics["verdict"] in shown.out
    table = pd.read_csv(output / "scores.csv")
    assert set(table["model"]) == {str(tiny_model), str(other_model)}
    assert len(table) == 2 * (3 * 4 if kind == "sts" else 3)
    compared = pd.read_csv(output / "differences.csv")
    assert compared["difference"].tolist() == pytest.approx([difference["difference"]])
    assert compared["low"].tolist() == pytest.approx([difference["ci95"][0]])

    before = (output / "metrics.json").read_bytes()
    assert main(words) == 0
    assert shown.out == capsys.readouterr().out
    assert (output / "metrics.json").read_bytes() == before


def test_what_was_measured_is_kept_until_something_changes(tiny_model, other_model, scored, tmp_path, monkeypatch):
    path, frame = scored
    loads = []
    from embedtrain.pipelines.evaluate import workspace

    real = workspace.load_biencoder
    monkeypatch.setattr(workspace, "load_biencoder", lambda source, **o: loads.append(source.name) or real(source, **o))

    def run(models, data=path, **more):
        loads.clear()
        evaluate_sts(STSOptions(model=models, data=[str(data)], output=str(tmp_path / "out"), **common(**more)))
        return list(loads)

    assert run([str(tiny_model)]) == [str(tiny_model)]
    assert run([str(tiny_model)], seed=3) == []
    assert run([str(other_model), str(tiny_model)]) == [str(other_model)]
    # The same pairs on another scale are the same question; other pairs are not.
    same = tmp_path / "scored.tsv"
    frame.assign(score=frame["score"] * 20).to_csv(same, sep="\t", index=False, quoting=3)
    assert run([str(tiny_model)], data=path) == []
    frame.iloc[::-1].to_csv(same, sep="\t", index=False, quoting=3)
    assert run([str(tiny_model)], data=same) == [str(tiny_model)]


def test_a_better_model_is_called_better_and_the_data_sets_are_corrected_together(tmp_path, tiny_model, monkeypatch):
    generator = np.random.default_rng(0)
    files = []
    for number in range(2):
        gold = generator.random(300)
        frame = pd.DataFrame({"sentence1": [f"{g:.6f}" for g in gold], "sentence2": ["x"] * 300, "score": gold})
        files.append(str(tmp_path / f"set{number}.csv"))
        frame.to_csv(files[-1], index=False)

    class Rigged:
        """Cosine with "x" falls with the number in the text, by chance where there is noise."""

        def __init__(self, noise):
            self.noise = noise

        def encode(self, texts, **options):
            draw = np.random.default_rng(1)
            angles = [0 if text == "x" else (1 - float(text)) + self.noise * draw.random() for text in texts]
            return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    noises = {"good": 0.01, "bad": 0.9}
    for name in noises:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "modules.json").write_text("[]")
    monkeypatch.setattr(
        "embedtrain.pipelines.evaluate.workspace.load_biencoder",
        lambda source, **_: Rigged(noises[source.name.rsplit("/", 1)[-1]]),
    )
    models = [str(tmp_path / name) for name in noises]
    found = evaluate_sts(STSOptions(model=models, data=files, number_types=[], **common())).metrics
    assert found["verdict"] == "good is better than bad on 2 and worse on 0 of 2 sets."
    for one in found["differences"]:
        assert one["p_value"] == pytest.approx(2 / 201)
        assert one["p_adjusted"] == pytest.approx(4 / 201)


def test_too_few_resamples_for_so_many_sets_are_told(tiny_model, other_model, scored):
    from embedtrain.evaluation.comparing import Difference
    from embedtrain.pipelines.evaluate.judging import resampling_warnings

    rows = [Difference("a", "b", f"set{n}", 0.1, (0.0, 0.2), 0.01, 0.1) for n in range(6)]
    assert resampling_warnings(rows[:2], samples=100) == []
    (warning,) = resampling_warnings(rows, samples=100)
    assert "--bootstrap-samples 240" in warning


def test_dimensions_that_a_model_does_not_have_are_left_out_and_told(tiny_model, scored):
    options = STSOptions(model=[str(tiny_model)], data=[str(scored[0])], dims=[4, 32, 64], number_types=[], **common())
    found = evaluate_sts(options).metrics
    assert [size["name"] for size in found["models"][str(tiny_model)][str(scored[0])]] == ["full", "4 dims"]
    assert found["warnings"] == [f"--dims 32, 64 has no effect on {tiny_model}: its embeddings have 32 dimensions."]


def test_pairs_without_a_text_are_left_out_and_counted(tiny_model, scored, tmp_path):
    path = tmp_path / "gaps.tsv"
    scored[1].assign(sentence2=["", *scored[1]["sentence2"][1:]]).to_csv(path, sep="\t", index=False, quoting=3)
    found = evaluate_sts(STSOptions(model=[str(tiny_model)], data=[str(path)], **common())).metrics
    assert found["data"][str(path)] == {"pairs": PAIRS - 1}
    assert found["warnings"] == [f"{path}: 1 of {PAIRS} pairs lack a text and are left out."]
