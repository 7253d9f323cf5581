"""Augmented SBERT from your own files, read from top to bottom: edit a copy, or use the command line.

    python scripts/augsbert.py                                   # the sample data of this project, English
    python scripts/augsbert.py --gold gold.tsv --dev dev.tsv --test test.tsv --unlabeled sentences.txt \
        --score-range 0 5 --output runs/first                    # the same options as `embedtrain augsbert`

On a GPU it runs as it is. The same command continues a run that was cut off.
"""

import sys
from pathlib import Path

from embedtrain import cli
from embedtrain.errors import UserError
from embedtrain.pipelines.augsbert.judging import results_table
from embedtrain.pipelines.augsbert.options import AugSBERTOptions
from embedtrain.pipelines.augsbert.pipeline import augsbert

SAMPLES = Path(__file__).parent.parent / "data_samples"


def main() -> None:
    """Run the pipeline on the sample data, with every choice in sight."""
    options = AugSBERTOptions(
        # 1. Scored pairs: gold trains, dev chooses, test judges. Unlabelled sentences give the new pairs.
        gold=str(SAMPLES / "en_gold.tsv"),
        dev=str(SAMPLES / "en_dev.tsv"),
        test=str(SAMPLES / "en_test.tsv"),
        unlabeled=str(SAMPLES / "en_sentences.txt"),
        score_range=(0, 5),
        # 2. The student, and the teacher that labels the new pairs for it.
        base="sentence-transformers/all-MiniLM-L6-v2",
        teacher_base=None,
        # 3. How new pairs are found, and how many.
        strategies=["semantic"],
        top_k=3,
        # 4. Where everything is kept.
        output="runs/script",
        seed=42,
    )
    result = augsbert(options)
    print(results_table(result.metrics))
    print(result.metrics["verdict"])
    print("report:", result.report)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(cli.main(["augsbert", *sys.argv[1:]]))
    cli.configure_logging()
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
