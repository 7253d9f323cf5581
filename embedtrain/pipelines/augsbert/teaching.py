"""The teacher's members: each is trained on gold, and scores pairs."""

from dataclasses import asdict
from pathlib import Path

from sentence_transformers import CrossEncoder, SentenceTransformer

from embedtrain.files import sha256_of_value
from embedtrain.losses import CosineSimilarityLoss
from embedtrain.mining.teachers import BiEncoderScorer, CrossEncoderScorer, Scorer
from embedtrain.models.pooled_crossencoder import make_pooled_crossencoder
from embedtrain.pipelines.augsbert.members import Member, starts_from
from embedtrain.pipelines.augsbert.workspace import PAIR, Workspace
from embedtrain.training.crossencoder import train_crossencoder
from embedtrain.training.history import History
from embedtrain.training.tasks import LABEL, Task


def train_member(work: Workspace, member: Member) -> None:
    """Train one member on gold, up to its best weights on dev; the student is trained already."""
    if member.kind == "cross-encoder":
        _train_crossencoder(work, member)
    elif member.kind == "bi-encoder":
        _train_biencoder(work, member)


def scorer_of(work: Workspace, member: Member) -> Scorer:
    """A trained member, loaded, in the precision that it labels in."""
    fingerprint = member_fingerprint(work, member)
    source = work.trained(member.stage)
    if member.kind == "cross-encoder":
        return CrossEncoderScorer(work.load_crossencoder(source), fingerprint, dtype=work.dtype)
    return BiEncoderScorer(work.load(source), fingerprint, dtype=work.dtype)


def member_fingerprint(work: Workspace, member: Member) -> str:
    """A hash of everything that a trained member's scores depend on."""
    return sha256_of_value({"kind": member.kind, "weights": work.weights(member.stage), **work.computing})


def _train_crossencoder(work: Workspace, member: Member) -> None:
    options, seed = work.options, member.seed(work.options)
    start: dict[str, str] = {"teacher_base": work.inputs.teacher_base.fingerprint}
    source = work.inputs.teacher_base
    if (first := starts_from(member, options)) is not None:
        source, start = work.trained(first.stage), {first.stage: work.weights(first.stage)}

    def fit(checkpoints: Path) -> tuple[CrossEncoder, History]:
        if options.teacher_pooling == "head":
            model = work.load_crossencoder(source, seed=seed)
        else:
            model = make_pooled_crossencoder(source, pooling=options.teacher_pooling, device=work.device, seed=seed)
        history = train_crossencoder(
            model,
            work.table("gold"),
            dev=work.table("dev"),
            settings=options.teacher_training,
            seed=seed,
            precision=work.precision,
            description=member.name,
            checkpoints=checkpoints,
        )
        return model, history

    used = {
        **start,
        **work.hashes("gold", "dev"),
        "teacher_training": asdict(options.teacher_training),
        "teacher_pooling": options.teacher_pooling,
        "seed": seed,
    }
    work.train(member.stage, used=used, fit=fit)


def _train_biencoder(work: Workspace, member: Member) -> None:
    options, seed = work.options, member.seed(work.options)
    settings = options.bi_encoder_training

    def fit(checkpoints: Path) -> tuple[SentenceTransformer, History]:
        model = work.load(work.inputs.teacher_base)
        gold = work.table("gold")
        # Its cosine shall follow the scores, whatever the students are trained with.
        task = Task("gold", gold[PAIR].assign(**{LABEL: gold["score"].astype("float32")}), CosineSimilarityLoss())
        history = work.fit_biencoder(
            model,
            [task],
            settings=settings,
            max_steps=settings.steps_for(len(gold)),
            seed=seed,
            description=member.name,
            untrained=None,
            checkpoints=checkpoints,
        )
        return model, history

    used = {
        "teacher_base": work.inputs.teacher_base.fingerprint,
        **work.hashes("gold", "dev"),
        "bi_encoder_training": asdict(settings),
        "seed": seed,
    }
    work.train(member.stage, used=used, fit=fit)
