"""A bi-encoder from your own tables, read from top to bottom: edit a copy, or use the command line.

    python scripts/train.py                                      # the sample data of this project, English
    python scripts/train.py --data pairs.parquet --loss mnrl --test test.tsv \
        --score-range 0 5 --output runs/x                        # the same options as `embedtrain train`

On a GPU it runs as it is. The same command continues a run that was cut off.
"""

import sys
from pathlib import Path

from embedtrain import cli
from embedtrain.errors import UserError
from embedtrain.pipelines.train.judging import training_table
from embedtrain.pipelines.train.options import TrainOptions
from embedtrain.pipelines.train.pipeline import train
from embedtrain.training.settings import TrainingSettings

SAMPLES = Path(__file__).parent.parent / "data_samples"


def main() -> None:
    """Train on the sample data, with every choice in sight."""
    options = TrainOptions(
        # 1. Training tables, and a loss for each: the columns tell what a table holds.
        data=[str(SAMPLES / "en_triplets.tsv"), str(SAMPLES / "en_gold.tsv")],
        loss=["mnrl", "cosine"],
        mix="round-robin",
        # 2. Scored pairs: dev chooses the weights, test judges.
        dev=str(SAMPLES / "en_dev.tsv"),
        test=str(SAMPLES / "en_test.tsv"),
        score_range=(0, 5),
        # 3. What is trained, and how long.
        base="sentence-transformers/all-MiniLM-L6-v2",
        training=TrainingSettings(epochs=2, batch_size=32, learning_rate=5e-5),
        # 4. Where everything is kept.
        output="runs/trained",
        seed=42,
    )
    result = train(options)
    print(training_table(result.metrics))
    print(result.metrics["verdict"])
    print("model:", result.model)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(cli.main(["train", *sys.argv[1:]]))
    cli.configure_logging()
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
