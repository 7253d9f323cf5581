"""Training on gold, from the base or from an adapted encoder."""

from dataclasses import asdict
from pathlib import Path

from sentence_transformers import SentenceTransformer

from embedtrain.pipelines.adapt.workspace import AdaptWorkspace
from embedtrain.pipelines.train.making import for_loss
from embedtrain.training.biencoder import train_tasks
from embedtrain.training.history import History
from embedtrain.training.loss_choice import LOSSES, build_loss
from embedtrain.training.tasks import Task


def supervise(work: AdaptWorkspace, *, stage: str, start: str | None) -> None:
    """Train the model of a stage, or the base, on gold; the weights are those of the best dev score."""
    options, loss = work.options, work.inputs.loss
    assert loss is not None
    used = {"loss": loss, "supervised": asdict(options.supervised), "seed": options.seed, **work.hashes("gold")}

    def fit(model: SentenceTransformer, checkpoints: Path) -> History:
        dev_metric = work.dev_metric()
        assert dev_metric is not None
        built = build_loss(loss, dim=model.get_embedding_dimension() or 0, num_labels=2)
        return train_tasks(
            model,
            [Task("gold", for_loss(work.table("gold")), built.to(model.device), LOSSES[loss].batches)],
            dev_metric=dev_metric,
            metric=work.measures()["dev"].metric,
            settings=options.supervised,
            seed=options.seed,
            precision=work.precision,
            description=stage,
            checkpoints=checkpoints,
        )

    work.train(stage, start=start, used=used, fit=fit)
