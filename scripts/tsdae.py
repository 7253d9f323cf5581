"""An encoder that learns a domain from raw text, read from top to bottom: edit a copy, or use the command line.

    python scripts/tsdae.py                                  # the Chinese sample data of this project
    python scripts/tsdae.py sentences.txt --test test.tsv \
        --score-range 0 5 --output runs/x                    # the same options as `embedtrain tsdae`

On a GPU it runs as it is. The same command continues a run that was cut off.
"""

import sys
from pathlib import Path

from embedtrain import cli
from embedtrain.errors import UserError
from embedtrain.pipelines.adapt.judging import adaptation_table
from embedtrain.pipelines.adapt.options import AdaptOptions
from embedtrain.pipelines.adapt.pipeline import adapt
from embedtrain.training.settings import TrainingSettings

SAMPLES = Path(__file__).parent.parent / "data_samples"


def main() -> None:
    """Adapt to the sample text, with every choice in sight."""
    options = AdaptOptions(
        # 1. The domain: one sentence a line.
        sentences=str(SAMPLES / "zh_sentences.txt"),
        # 2. Scored pairs: dev ends the training and chooses the model, test judges.
        dev=str(SAMPLES / "zh_dev.tsv"),
        test=str(SAMPLES / "zh_test.tsv"),
        score_range=(0, 5),
        # 3. How: TSDAE deletes 60 % of the words and lets a decoder write the sentence out again.
        arms=["tsdae"],
        noise=["delete"],
        delete_ratio=0.6,
        # 4. What is adapted, and how long.
        base="sentence-transformers/all-MiniLM-L6-v2",
        adaptation=TrainingSettings(epochs=1, min_steps=100, batch_size=32, learning_rate=3e-5, weight_decay=0.0),
        # 5. Where everything is kept.
        output="runs/tsdae",
        seed=42,
    )
    result = adapt(options)
    print(adaptation_table(result.metrics))
    print(result.metrics["verdict"])
    print("model:", result.model)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(cli.main(["tsdae", *sys.argv[1:]]))
    cli.configure_logging()
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
