"""Mining: from sentences to pairs worth labelling, or from positive or scored pairs to tuples for a ranking loss.

The stages, in order: read; encode, where embeddings are searched; and what finds the pairs or tuples. Each is kept in
the run folder and done again only when something it depends on has changed.
"""

import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from embedtrain.files import whole_file
from embedtrain.models import choose_attention
from embedtrain.models.hardware import tf32_products
from embedtrain.pipelines.memory import lean_memory
from embedtrain.pipelines.mine.inputs import MineInputs, collect_mine_inputs
from embedtrain.pipelines.mine.options import MineOptions
from embedtrain.pipelines.mine.pairs import PAIRS_FILE, sample
from embedtrain.pipelines.mine.tuples import TUPLES_FILE, search_negatives, split_scored
from embedtrain.pipelines.mine.workspace import Workspace
from embedtrain.pipelines.run import Run, full_disk_told

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MineResult:
    """What a run made.

    Attributes:
        table: The Parquet file of pairs or tuples.
        rows: How many it holds.
        sampled_by: Of pairs, how many each strategy, or several together, found.
    """

    table: Path
    rows: int
    sampled_by: dict[str, int]

    def to_frame(self) -> pd.DataFrame:
        """The pairs or tuples, read from the file."""
        return pd.read_parquet(self.table)


def mine(options: MineOptions) -> MineResult:
    """Mine, or do what is left of it, in ``options.output``.

    Raises:
        UserError: With every mistake in options, files and model names, before any model is loaded; or there is nothing
            to be found, or the disk is full.
    """
    inputs = collect_mine_inputs(options)
    with (
        full_disk_told(options.output),
        Run(options.output, config=options.as_dict()) as run,
        lean_memory(inputs.device.name),
        tf32_products(inputs.precision.name),
    ):
        _note(options, inputs, run)
        work = Workspace(options, inputs, run)
        if options.mode == "tuples":
            made = split_scored(work)
        else:
            work.read()
            work.encode()
            made = search_negatives(work) if options.mode == "hard-negatives" else sample(work)
        work.clear_unfinished()
        return _finish(made, run)


def _note(options: MineOptions, inputs: MineInputs, run: Run) -> None:
    models = {teacher.name: asdict(teacher.source) for teacher in inputs.teachers}
    if inputs.model is not None:
        models["model"] = asdict(inputs.model)
    run.note(seed=options.seed, models=models)
    if models:
        attention = choose_attention(inputs.device.name)
        run.note_choices(device=inputs.device, precision=inputs.precision, attention=attention)
    for finding in inputs.findings:
        logger.info("audit: %s", finding)


def _finish(made: Path, run: Run) -> MineResult:
    """Copy the result to the top of the run folder, where nothing of another mode may be left."""
    target = run.folder / made.name
    table = pd.read_parquet(made)
    counts = table["sampled_by"].value_counts().to_dict() if "sampled_by" in table else {}
    sampled_by = {str(name): int(count) for name, count in counts.items()}
    if run.leads:
        for name in {PAIRS_FILE, TUPLES_FILE} - {made.name}:
            (run.folder / name).unlink(missing_ok=True)
        with whole_file(target) as beside:
            shutil.copyfile(made, beside)
        run.note(result={"file": made.name, "rows": len(table), "sampled_by": sampled_by})
    return MineResult(target, len(table), sampled_by)
