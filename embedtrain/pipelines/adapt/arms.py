"""The ways to adapt an encoder to raw text, each a stage: masked language modelling, TSDAE, SimCSE."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from embedtrain.data.noise import Noise
from embedtrain.data.noise_kinds import parse_noise
from embedtrain.data.token_spelling import replacement_ids
from embedtrain.errors import UserError
from embedtrain.pipelines.adapt.options import Arm
from embedtrain.pipelines.adapt.workspace import AdaptWorkspace
from embedtrain.training.history import History
from embedtrain.training.mlm import train_mlm
from embedtrain.training.simcse import train_simcse
from embedtrain.training.tsdae import train_tsdae


def adapt_arm(work: AdaptWorkspace, arm: Arm, *, stage: str, start: str | None) -> None:
    """Train one arm on the sentences, from the base or from the model of an earlier stage.

    The weights are those that do best on sentences held out of the text, or those of the best dev score.
    """
    options = work.options
    options_of_arm: dict[Arm, dict[str, Any]] = {
        "tsdae": {
            name: getattr(options, name)
            for name in ("noise", "delete_ratio", "change_ratio", "words", "decoder_layers")
        },
        "mlm": {"mask_share": options.mask_share},
        "simcse": {"temperature": options.temperature},
    }
    used = {
        "arm": arm,
        **options_of_arm[arm],
        "max_length": options.max_length,
        "by_dev": options.arms_chosen_by_dev,
        "adaptation": asdict(options.adaptation),
        "seed": options.seed,
        **work.hashes("sentences", "held_out"),
    }

    def fit(model: SentenceTransformer, checkpoints: Path) -> History:
        sentences, held_out = work.table("sentences")["text"], work.table("held_out")["text"]
        dev_metric, metric = (work.dev_metric() if options.arms_chosen_by_dev else None), None
        if dev_metric is not None:
            metric = work.measures()["dev"].metric
        common: dict[str, Any] = {
            "held_out": held_out,
            "dev_metric": dev_metric,
            **({} if metric is None else {"metric": metric, "untrained": "score"}),
            "max_length": options.max_length,
            "settings": options.adaptation,
            "seed": options.seed,
            "precision": work.precision,
            "description": stage,
            "checkpoints": checkpoints,
        }
        return _FITS[arm](work, model, sentences, common)

    work.train(stage, start=start, used=used, fit=fit)


def _fit_tsdae(work: AdaptWorkspace, model: SentenceTransformer, sentences: Any, common: dict[str, Any]) -> History:
    options = work.options
    kinds = parse_noise(options.noise)
    tokenizer = model.tokenizer
    if "mask" in kinds and tokenizer.mask_token_id is None:
        raise UserError(
            f"--noise mask: the tokenizer of {work.inputs.base.name} has no mask token; expected another kind of noise"
        )
    noise = Noise(
        kinds,
        delete_ratio=options.delete_ratio,
        change_ratio=options.change_ratio,
        mask_id=tokenizer.mask_token_id,
        vocabulary=replacement_ids(tokenizer) if kinds.keys() & {"replace", "insert"} else None,
    )
    return train_tsdae(
        model, sentences, noise=noise, words=options.words, decoder_layers=options.decoder_layers, **common
    )


def _fit_mlm(work: AdaptWorkspace, model: SentenceTransformer, sentences: Any, common: dict[str, Any]) -> History:
    if model.tokenizer.mask_token_id is None:
        raise UserError(f"--arms mlm: the tokenizer of {work.inputs.base.name} has no mask token; leave this arm out")
    return train_mlm(model, sentences, share=work.options.mask_share, **common)


def _fit_simcse(work: AdaptWorkspace, model: SentenceTransformer, sentences: Any, common: dict[str, Any]) -> History:
    return train_simcse(model, sentences, temperature=work.options.temperature, **common)


_FITS: dict[Arm, Callable[[AdaptWorkspace, SentenceTransformer, Any, dict[str, Any]], History]] = {
    "tsdae": _fit_tsdae,
    "mlm": _fit_mlm,
    "simcse": _fit_simcse,
}
