"""``embedtrain compare``: runs and models on the same rows, from what runs kept and from tables."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import SAMPLES, build_tiny_model
from sentence_transformers import SentenceTransformer

from embedtrain.cli import main
from embedtrain.evaluation import cosine_of_pairs, paired_bootstrap_difference
from embedtrain.evaluation.statistics import spearman
from embedtrain.files import write_json
from embedtrain.pipelines.compare.options import CompareOptions
from embedtrain.pipelines.compare.pipeline import compare
from embedtrain.pipelines.compare.reading import kept_predictions

ROWS = 50
STAGE = {"train": "predict", "augsbert": "predict", "adapt": "tsdae+gold"}


@pytest.fixture(scope="module")
def rows():
    frame = pd.read_csv(SAMPLES / "en_test.tsv", sep="\t", quoting=3).head(ROWS)
    return frame.assign(score=frame["score"] / 5)


def build_run(folder, model, table, predictions, *, kind="train"):
    """What a run leaves behind that a comparison reads."""
    read = folder / "stages" / "read"
    read.mkdir(parents=True)
    shutil.copytree(model, folder / "model")
    write_json(folder / "manifest.json", {})
    table.rename_axis("row").reset_index().to_parquet(read / "test.parquet", index=False)
    test = pd.DataFrame({"split": "test", "prediction": predictions})
    dev = pd.DataFrame({"split": "dev", "prediction": np.zeros(7)})
    metrics = {}
    if kind == "augsbert":
        metrics = {"winner": "augmented"}
        other = test.assign(model="gold_only", prediction=0.0)
        test = pd.concat([other, test.assign(model="augmented")])
    elif kind == "adapt":
        metrics = {"winner": "arm", "stages": {"zero_shot": "zero_shot", "arm": STAGE[kind]}}
        write_json(read / "kinds.json", {"dev": "scored pairs", "test": "scored pairs"})
    write_json(folder / "metrics.json", metrics)
    stage = folder / "stages" / STAGE[kind]
    stage.mkdir(parents=True)
    pd.concat([dev, test]).to_parquet(stage / "predictions.parquet", index=False)
    return folder


def compared(*models, **more):
    return compare(CompareOptions(model=[str(model) for model in models], bootstrap_samples=200, device="cpu", **more))


@pytest.mark.parametrize("kind", list(STAGE))
def test_runs_are_compared_by_what_they_kept_and_models_predict(tmp_path, tiny_model, rows, kind, monkeypatch):
    loads = []
    from embedtrain.pipelines.evaluate import workspace

    real = workspace.load_biencoder
    monkeypatch.setattr(workspace, "load_biencoder", lambda source, **o: loads.append(source.name) or real(source, **o))
    kept = np.random.default_rng(0).random(ROWS)
    run = build_run(tmp_path / "run", tiny_model, rows, kept, kind=kind)
    found = compared(run, tiny_model, output=str(tmp_path / "out")).metrics
    (name,) = found["data"]
    assert name == f"test of {run}"
    assert found["data"][name] == {"rows": ROWS, "kind": "scored pairs", "metric": "spearman", "label": "Spearman"}
    assert loads == [str(tiny_model)]
    gold = rows["score"].to_numpy()
    model = SentenceTransformer(str(tiny_model), device="cpu")
    cosines = cosine_of_pairs(model, rows["sentence1"].tolist(), rows["sentence2"].tolist())
    assert found["models"][str(run)][name]["spearman"] == pytest.approx(spearman(kept, gold))
    assert found["models"][str(tiny_model)][name]["spearman"] == pytest.approx(spearman(cosines, gold))
    expected = paired_bootstrap_difference(kept, cosines, gold, samples=200, seed=42)
    (difference,) = found["differences"]
    assert difference["difference"] == pytest.approx(expected.value)
    assert difference["ci95"] == pytest.approx([expected.low, expected.high])


def test_the_same_rows_from_a_file_are_recognised_and_others_are_predicted(tmp_path, tiny_model, rows, caplog):
    caplog.set_level("INFO", logger="embedtrain")
    run = build_run(tmp_path / "run", tiny_model, rows, np.zeros(ROWS))
    same, other = tmp_path / "same.csv", tmp_path / "other.csv"
    rows.assign(score=rows["score"] * 5).to_csv(same, index=False)
    rows.iloc[::-1].to_csv(other, index=False)
    found = compared(run, tiny_model, data=[str(same), str(other)]).metrics
    assert found["models"][str(run)][str(same)]["spearman"] == 0
    at_work = found["models"][str(tiny_model)]
    assert found["models"][str(run)][str(other)]["spearman"] == at_work[str(other)]["spearman"] != 0
    assert caplog.text.count("what the run kept of its test set is taken") == 1


def test_every_test_set_of_the_runs_is_measured_on_by_all(tmp_path, tiny_model, rows):
    first = build_run(tmp_path / "a", tiny_model, rows, np.zeros(ROWS))
    twin = build_run(tmp_path / "b", tiny_model, rows, np.ones(ROWS))
    other = build_run(tmp_path / "c", tiny_model, rows.head(30), np.zeros(30))
    found = compared(first, twin, other).metrics
    assert [facts["rows"] for facts in found["data"].values()] == [50, 30]
    assert len(found["differences"]) == 3 * 2
    assert found["models"][str(first)][f"test of {other}"]["spearman"] != 0


def test_tables_of_any_kind_have_the_metric_that_suits_them(tmp_path, tiny_model, rows, capsys):
    other = build_tiny_model(tmp_path / "other", layers=1)
    labelled, triplets = tmp_path / "labelled.csv", tmp_path / "triplets.tsv"
    rows.assign(label=(rows["score"] > 0.5).astype(int)).drop(columns="score").to_csv(labelled, index=False)
    pd.read_csv(SAMPLES / "en_triplets.tsv", sep="\t", quoting=3).head(40).to_csv(
        triplets, sep="\t", index=False, quoting=3
    )
    words = ["compare", str(tiny_model), str(other), "--data", str(labelled), str(triplets)]
    words += ["--bootstrap-samples", "200", "--device", "cpu", "--output", str(tmp_path / "out")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "labelled.csv: 50 labelled pairs, average precision" in shown
    assert "triplets.tsv: 40 triplets, MRR" in shown
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    by_data = {one["data"]: one for one in metrics["differences"]}
    p_values = sorted(one["p_value"] for one in by_data.values())
    adjusted = sorted(one["p_adjusted"] for one in by_data.values())
    assert adjusted[0] == pytest.approx(min(1, 2 * p_values[0]))
    assert pd.read_csv(tmp_path / "out" / "scores.csv")["metric"].tolist() == ["average_precision", "mrr"] * 2


def test_predictions_that_do_not_fit_the_test_set_are_not_taken(tmp_path, tiny_model, rows):
    run = build_run(tmp_path / "run", tiny_model, rows, np.zeros(ROWS - 1))
    assert kept_predictions(run, rows=ROWS) is None
    assert len(kept_predictions(run, rows=ROWS - 1)) == ROWS - 1
    shutil.rmtree(run / "stages" / "predict")
    assert kept_predictions(run, rows=ROWS) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["MODEL"], "is the only model, expected at least two"),
        (["MODEL", "MODEL"], "is given twice"),
        (["MODEL", "no/such-model"], "no/such-model"),
        (["MODEL", "OTHER"], "none of the models is a run with a test set; give tables with --data"),
        (["MODEL", "OTHER", "--data", "none.csv"], "none.csv: no such file"),
        (["MODEL", "OTHER", "--data", "SMALL"], "2 scored pairs, expected at least 10"),
        (["MODEL", "OTHER", "--data", "CONSTANT"], "every label is 1"),
        ([], "arguments are required: model"),
    ],
)
def test_wrong_uses(tmp_path, tiny_model, words, expected, capsys):
    small, constant = tmp_path / "small.csv", tmp_path / "constant.csv"
    small.write_text("sentence1,sentence2,score\na,b,1\nc,d,2\n")
    constant.write_text("sentence1,sentence2,label\n" + "".join(f"a{n},b,1\n" for n in range(12)))
    shutil.copytree(tiny_model, tmp_path / "copy")
    known = {"MODEL": tiny_model, "OTHER": tmp_path / "copy", "SMALL": small, "CONSTANT": constant}
    assert main(["compare", *(str(known.get(word, word)) for word in words)]) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert "Traceback" not in told
