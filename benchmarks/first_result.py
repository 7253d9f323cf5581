"""From a clone to the first result on data of one's own: how many commands, and how long each takes.

    python benchmarks/first_result.py                     # some 10 minutes on two cores
    python benchmarks/first_result.py --path text         # from raw text alone

The project is cloned into a folder that is deleted afterwards, with an environment of its own; what pip downloads is
not taken from its cache (``--cached`` takes it). The data is a user's: one TSV file of 500 scored pairs from STS
benchmark with column names that are not ours, and 2,000 of its sentences, one a line, no dev or test set beside them.
Every command is the one a user would type; one that fails ends the benchmark. Downloading depends on the network, so
that each command's time stands alone. The last line is JSON.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from machine import describe
from training_data import ROOT, data_folder

from embedtrain.files import read_json, write_json

INSTALL = "make install"
FIRST = {
    "pairs": (
        ".venv/bin/embedtrain augsbert --gold own.tsv --columns sentence1=question sentence2=other score=similarity "
        "--score-range 0 5 --unlabeled own.txt --output runs/first"
    ),
    "text": ".venv/bin/embedtrain tsdae own.txt --output runs/first",
}
RESULTS = ROOT / "benchmarks" / "results" / "first_result.json"


def main() -> None:
    """Clone, install, train, each timed; what was made is loaded in plain sentence-transformers."""
    asked = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "embedtrain"
        commands = [f"git clone --quiet {asked.source} embedtrain", INSTALL, FIRST[asked.path]]
        seconds = [_timed(commands[0], Path(folder))]
        _own_files(place, pairs=asked.pairs, sentences=asked.sentences)
        environment = {} if asked.cached else {"PIP_NO_CACHE_DIR": "1"}
        seconds += [_timed(command, place, **environment) for command in commands[1:]]
        kept = sorted(path.name for path in (place / "runs" / "first").iterdir())
        metrics = read_json(place / "runs" / "first" / "metrics.json")
        _loads(place)
    # Of the checkout only what a user would type.
    commands[0] = "git clone URL embedtrain && cd embedtrain"
    found = {
        "commands": dict(zip(commands, [round(second, 1) for second in seconds], strict=True)),
        "number_of_commands": len(commands),
        "minutes": round(sum(seconds) / 60, 1),
        "downloaded_anew": not asked.cached,
        "kept": kept,
        "verdict": metrics["verdict"],
    }
    stored = read_json(RESULTS) if RESULTS.is_file() else {}
    write_json(RESULTS, {**stored, asked.path: {**found, "run": describe("first_result.py")}})
    print(json.dumps({asked.path: found}))


def _own_files(place: Path, *, pairs: int, sentences: int) -> None:
    table = pd.read_csv(data_folder(("stsb",)) / "stsb" / "en_train.tsv", sep="\t", quoting=3)
    own = table.sample(pairs, random_state=0)
    own.set_axis(["question", "other", "similarity"], axis="columns").to_csv(place / "own.tsv", sep="\t", index=False)
    rest = table.drop(own.index)["sentence1"].drop_duplicates().sample(sentences, random_state=0)
    (place / "own.txt").write_text("\n".join(rest) + "\n", encoding="utf-8")


def _timed(command: str, folder: Path, **environment: str) -> float:
    print(f"$ {command}", file=sys.stderr, flush=True)
    # Nothing of the environment that this benchmark runs in: a newcomer has none of it.
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    clean["PATH"] = os.pathsep.join(
        part for part in clean["PATH"].split(os.pathsep) if part != str(Path(sys.executable).parent)
    )
    start = time.perf_counter()
    subprocess.run(shlex.split(command), cwd=folder, env=clean | environment, check=True, stdout=sys.stderr)
    return time.perf_counter() - start


def _loads(place: Path) -> None:
    code = (
        "from sentence_transformers import SentenceTransformer\n"
        "assert SentenceTransformer('runs/first/model').encode(['A first sentence.']).shape[0] == 1"
    )
    subprocess.run([".venv/bin/python", "-c", code], cwd=place, check=True, env={**os.environ, "PYTHONPATH": ""})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", choices=sorted(FIRST), default="pairs", help="what the user has")
    parser.add_argument("--source", default=str(ROOT), help="what is cloned; default: this checkout's last commit")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--sentences", type=int, default=2_000)
    parser.add_argument("--cached", action="store_true", help="let pip take what it downloaded before")
    return parser.parse_args()


if __name__ == "__main__":
    main()
