"""Domain adaptation from raw text (Wang et al. 2021): the target domain first, the labels after it.

The stages, in order: read and audit; a look at the text; zero-shot; each arm on the raw text; with gold, training on
gold from the base and from each adapted encoder; judge; report. Each is kept in the run folder and done again only when
something it depends on has changed; a training that was cut off goes on from its last checkpoint.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from embedtrain.files import read_json, sha256_of_file, write_json, write_parquet
from embedtrain.models import choose_attention
from embedtrain.pipelines.adapt.arms import adapt_arm
from embedtrain.pipelines.adapt.inputs import collect_adapt_inputs
from embedtrain.pipelines.adapt.judging import judge_adaptation
from embedtrain.pipelines.adapt.options import AdaptOptions
from embedtrain.pipelines.adapt.reading import SENTENCES_TRIED, read, warn_about_text, what_the_tokenizer_sees
from embedtrain.pipelines.adapt.supervising import supervise
from embedtrain.pipelines.adapt.workspace import AdaptWorkspace
from embedtrain.pipelines.keeping import keep_model
from embedtrain.pipelines.memory import lean_memory
from embedtrain.pipelines.results import split_scores
from embedtrain.pipelines.run import Run
from embedtrain.report import write_adapt_report
from embedtrain.training.held_out import reading_length

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdaptResult:
    """What a run made: ``metrics`` is the content of ``metrics.json``."""

    metrics: dict[str, Any]
    model: Path
    report: Path

    def to_frame(self) -> pd.DataFrame:
        """Each model's scores on dev and test as fractions, with 95 % intervals: see ``results.score_frame``.

        Empty where there were no pairs to measure on.
        """
        deciding = {split: metric["name"] for split, metric in self.metrics["metrics"].items()}
        return split_scores(self.metrics["models"], deciding)


def adapt(options: AdaptOptions) -> AdaptResult:
    """Run the whole adaptation, or what is left of it, in ``options.output``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded.
    """
    inputs = collect_adapt_inputs(options)
    with Run(options.output, config=options.as_dict()) as run, lean_memory(inputs.device.name):
        return _adapt(AdaptWorkspace(options, inputs, run))


def _adapt(work: AdaptWorkspace) -> AdaptResult:
    options, inputs, run = work.options, work.inputs, work.run
    run.note(seed=options.seed, models={"base": asdict(inputs.base)}, loss=inputs.loss)
    run.note_choices(device=inputs.device, precision=inputs.precision, attention=choose_attention(inputs.device.name))
    read(work)
    look_at_text(work)
    zero_shot(work)
    models = {"zero_shot": "zero_shot"}
    if options.order == "target-first":
        for arm in options.arms:
            adapt_arm(work, arm, stage=arm, start=None)
            models[arm] = arm
        if inputs.gold is not None:
            supervise(work, stage="gold", start=None)
            models["gold"] = "gold"
            for arm in options.arms:
                supervise(work, stage=f"{arm}_gold", start=arm)
                models[f"{arm}+gold"] = f"{arm}_gold"
    else:
        supervise(work, stage="gold", start=None)
        models["gold"] = "gold"
        for arm in options.arms:
            adapt_arm(work, arm, stage=f"gold_{arm}", start="gold")
            models[f"gold+{arm}"] = f"gold_{arm}"
    metrics = judge(work, models)
    # Put in place last: what lies there is the model of a run that came to its end.
    keep_model(run, run.path(models[metrics["winner"]], "model"))
    report = write_adapt_report(run.folder) if run.leads else run.folder / "report.html"
    return AdaptResult(metrics, run.folder / "model", report)


def look_at_text(work: AdaptWorkspace) -> None:
    """Tokenise some sentences, and say what share the base does not know, or does not read to the end."""
    options = work.options

    def fill(folder: Path) -> None:
        model = work.load(work.inputs.base)
        length = options.max_length or reading_length(model)
        texts = pd.concat([work.table(name)["text"] for name in ("sentences", "held_out")])
        texts = texts.sample(min(len(texts), SENTENCES_TRIED), random_state=options.seed)
        seen = what_the_tokenizer_sees(model.tokenizer, texts.tolist(), max_length=length)
        write_json(folder / "text.json", {**seen, "max_length": length, "sentences": len(texts)})

    used = {
        "base": work.inputs.base.fingerprint,
        "max_length": options.max_length,
        "seed": options.seed,
        **work.hashes("sentences", "held_out"),
    }
    folder = work.run.stage("text", inputs=used, work=fill)
    for warning in text_warnings(work, folder):
        logger.warning("%s", warning)


def text_warnings(work: AdaptWorkspace, folder: Path) -> list[str]:
    """What a look at the text found."""
    seen = read_json(folder / "text.json")
    return warn_about_text(seen, base=work.inputs.base.name, max_length=seen["max_length"])


def zero_shot(work: AdaptWorkspace) -> None:
    """Score the base before anything is trained, and keep it as the first of the models to choose from."""

    def fill(folder: Path) -> None:
        model = work.load(work.inputs.base)
        model.save_pretrained(str(folder / "model"), create_model_card=False)
        write_parquet(folder / "predictions.parquet", work.predictions(model))

    used = {"base": work.weights(None), **work.hashes(*work.measures()), **work.computing}
    work.run.stage("zero_shot", inputs=used, work=fill)


def judge(work: AdaptWorkspace, models: dict[str, str]) -> dict[str, Any]:
    """Put intervals on every score and difference, and words; write ``metrics.json``.

    Args:
        work: The run.
        models: The stage of each model, in the order of the table.
    """
    options, run = work.options, work.run
    measures = work.measures()
    last = list(models)[-1]
    fallback = "tsdae" if "tsdae" in models and work.inputs.gold is None else last

    def fill(folder: Path) -> None:
        judged = judge_adaptation(
            {(model, split): work.kept(stage, split) for model, stage in models.items() for split in measures},
            measures,
            models=list(models),
            fallback=fallback,
            bootstrap_samples=options.bootstrap_samples,
            seed=options.seed,
        )
        write_json(folder / "judged.json", judged)

    used = {
        **{model: sha256_of_file(run.path(stage, "predictions.parquet")) for model, stage in models.items()},
        **work.hashes(*measures),
        "bootstrap_samples": options.bootstrap_samples,
        "seed": options.seed,
    }
    folder = run.stage("judge", inputs=used, work=fill)
    judged = read_json(folder / "judged.json")
    text = run.path("text")
    metrics = {
        **judged,
        "warnings": [*text_warnings(work, text), *judged["warnings"]],
        "text": read_json(text / "text.json"),
        "stages": models,
        "seconds": run.seconds,
    }
    if run.leads:
        write_json(run.folder / "metrics.json", metrics)
    return metrics
