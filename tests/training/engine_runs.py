"""Short trainings in a process of their own, for the tests that kill or pair processes.

    python engine_runs.py MODEL CHECKPOINTS OUTPUT LOSSES BATCH_SIZE [KILL_AT]

trains with each of the losses, named with commas between, and writes the final weights and the loss of every step to
OUTPUT/LOSS.pt (on rank 0). A process takes longer to start than to train.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer

from embedtrain.data.noise import Noise
from embedtrain.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
    SimilarityDistillationLoss,
    SoftmaxLoss,
)
from embedtrain.training.biencoder import scored, train_tasks
from embedtrain.training.engine import Engine
from embedtrain.training.settings import EngineSettings, TrainingSettings
from embedtrain.training.tasks import Task
from embedtrain.training.taught import TaughtTexts
from embedtrain.training.tsdae import train_tsdae

WORDS = ["reset", "device", "password", "order", "refund", "login", "update", "phone", "cable", "battery", "screen"]
STEPS = 12


def pairs(rows, seed=0):
    """Random pairs of one to six words, with a score."""
    random = np.random.default_rng(seed)
    texts = [
        [" ".join(random.choice(WORDS, random.integers(1, 7))) + f" {side}{row}" for row in range(rows)]
        for side in "ab"
    ]
    return pd.DataFrame({"sentence1": texts[0], "sentence2": texts[1], "score": random.random(rows).round(2)})


def task_of(loss, rows):
    """The rows as a task for a loss by its short name."""
    texts = rows[["sentence1", "sentence2"]]
    if loss == "mnrl":
        return Task("pairs", texts, MultipleNegativesRankingLoss(), batches="unique")
    if loss == "similarities":
        distinct = pd.unique(texts.to_numpy(dtype=object).ravel())
        taught = TaughtTexts(distinct, np.random.default_rng(2).normal(size=(len(distinct), 7)).astype(np.float32))
        return Task("pairs", texts, SimilarityDistillationLoss(), batches="unique", taught=taught)
    if loss == "softmax":
        # Other weights in each process: the first one's are those that count.
        torch.manual_seed(int(os.environ.get("RANK", "0")))
        return Task(
            "pairs", texts.assign(label=(rows["score"] > 0.5).astype("int64")), SoftmaxLoss(dim=32, num_labels=2)
        )
    made = CosineSimilarityLoss() if loss == "cosine" else CoSENTLoss()
    return Task("pairs", texts.assign(label=rows["score"].astype("float32")), made)


def dev_metric_on(dev):
    """Correlations of cosines with the scores of some pairs."""
    from embedtrain.evaluation.sts import cosine_of_pairs

    return lambda model: scored(cosine_of_pairs(model, dev["sentence1"].tolist(), dev["sentence2"].tolist()), dev)


def run(model, tasks, *, batch_size, checkpoints=None, engine=None, max_steps=STEPS, **more):
    """Train with settings that let small differences show."""
    settings = TrainingSettings(batch_size=batch_size, learning_rate=2e-3, evaluations=4, patience=0)
    return train_tasks(
        model,
        tasks,
        dev_metric=dev_metric_on(pairs(30, seed=1)),
        settings=settings,
        engine=engine or EngineSettings(),
        max_steps=max_steps,
        checkpoints=checkpoints,
        **more,
    )


def run_tsdae(model, *, batch_size, checkpoints=None):
    """The same on sentences, with the decoder's weights and the noise that a seed gives."""
    return train_tsdae(
        model,
        pd.Series(pairs(90)["sentence1"]),
        noise=Noise(),
        dev_metric=dev_metric_on(pairs(30, seed=1)),
        metric="spearman",
        settings=TrainingSettings(batch_size=batch_size, learning_rate=2e-3, evaluations=4, patience=0),
        max_steps=STEPS,
        checkpoints=checkpoints,
    )


def train(folder, loss, *, batch_size, checkpoints):
    """One run: weights, losses of all steps and what dev scored."""
    model = SentenceTransformer(folder, device="cpu")
    if loss.endswith("-still"):  # two processes draw different dropout: none for comparing them
        loss = loss.removesuffix("-still")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        config = model.transformers_model.config
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    if loss == "tsdae":
        history = run_tsdae(model, batch_size=batch_size, checkpoints=checkpoints)
    else:
        history = run(model, [task_of(loss, pairs(90))], batch_size=batch_size, checkpoints=checkpoints)
    return {
        "weights": model.state_dict(),
        "losses": [entry["loss"] for entry in history.steps],
        "evaluations": [entry["spearman"] for entry in history.evaluations],
    }


def main():
    """Runs as the arguments say."""
    folder, checkpoints, output, losses, batch_size, *kill = sys.argv[1:]
    if kill:
        plain = Engine.training_step

        def killed(self, *args, **named):
            if self.state.global_step == int(kill[0]):
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(self, *args, **named)

        Engine.training_step = killed
    for loss in losses.split(","):
        where = None if checkpoints == "-" else Path(checkpoints) / loss
        trained = train(folder, loss, batch_size=int(batch_size), checkpoints=where)
        if int(os.environ.get("RANK", "0")) == 0:
            Path(output).mkdir(parents=True, exist_ok=True)
            torch.save(trained, Path(output) / f"{loss}.pt")


if __name__ == "__main__":
    main()
