"""The options of ``embedtrain evaluate mteb`` and ``embedtrain mteb export``, with their checks."""

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from embedtrain.errors import Problems
from embedtrain.evaluation.names import CustomType
from embedtrain.models.names import DeviceName, PrecisionName
from embedtrain.pipelines.evaluate.options import check_given, check_numbers, check_output, check_single_process


@dataclass(frozen=True, kw_only=True)
class MTEBOptions:
    """MTEB's tasks on local files; nothing is fetched.

    Args:
        model: One or more models: folders of models or of runs, or models' names.
        data_root: The mirror: a folder with one folder a task, which embedtrain mteb export writes or you do; or a hub
            cache (HF_HOME, or its hub folder) as it is.
        tasks: Names of mteb's tasks and benchmarks, such as STSBenchmark or "MTEB(eng, v2)"; by default every task that
            the mirror holds.
        custom: Your own data as tasks: files, or folders as a mirror has them.
        type: What your own tasks are.
        reference: A table of published scores (model, task, split, subset, main_score) to put beside your own.
        output: A folder that keeps mteb's result files, the embeddings and the figures; what is done there is not done
            again unless data, model or mteb changed.
        cache_gib: Room on disk for embeddings, in GiB; those that were not used for longest go first.
        batch_size: Texts encoded at a time; by default as many as have 1024 tokens for each thread on a CPU, and 16384
            on a GPU.
        device: Where to compute; auto takes the GPU where there is one.
        precision: Of matrix products. fp32 is what published scores are made in; bf16 is faster where the hardware has
            instructions for it, which auto finds out. Results of other precisions than fp32 are kept as experiments.
        train_data: Tables that the models were trained on; evaluation texts and pairs that stand in them are told.
        seed: Of the bootstrap.
        bootstrap_samples: Resamples behind each 95 % interval.
    """

    model: list[str]
    data_root: str | None = None
    tasks: list[str] = field(default_factory=list)
    custom: list[str] = field(default_factory=list)
    type: CustomType | None = None
    reference: str | None = None
    output: str = "runs/mteb"
    cache_gib: float = 4.0
    batch_size: int | None = None
    device: DeviceName = "auto"
    precision: PrecisionName = "fp32"
    train_data: list[str] = field(default_factory=list)
    seed: int = 42
    bootstrap_samples: int = 1000

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return asdict(self)

    def check(self, problems: Problems) -> None:
        """Note every value that is out of range and every pair of options that contradict each other."""
        check_numbers(self, {"batch_size": 1, "seed": 0, "bootstrap_samples": 100}, problems)
        if not self.cache_gib >= 0:
            problems.add(f"--cache-gib is {self.cache_gib}, expected at least 0")
        check_given("model", self.model, problems)
        for option, given in (("tasks", self.tasks), ("custom", self.custom)):
            if given:
                check_given(option, given, problems)
        if self.data_root is None and not self.custom:
            problems.add("there is nothing to evaluate on: give --data-root with a mirror, or --custom with your data")
        if self.data_root is None and self.tasks:
            problems.add("--tasks needs --data-root: the folder that their data lies in")
        if bool(self.custom) != (self.type is not None):
            problems.add("--custom and --type belong together: your data, and what kind of task it is")
        inputs = [*(("model", name) for name in self.model), *(("custom", name) for name in self.custom)]
        if self.data_root is not None:
            inputs.append(("data-root", self.data_root))
        check_output(self.output, inputs, problems)
        check_single_process(problems)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Writing a mirror, where there is a network.

    Args:
        tasks: Names of mteb's tasks and benchmarks, such as STSBenchmark or "MTEB(eng, v2)".
        to: The mirror's folder; tasks that are there already are left as they are.
    """

    tasks: list[str]
    to: str

    def check(self, problems: Problems) -> None:
        """Note names that are missing or given twice, and a file in the folder's place."""
        check_given("tasks", self.tasks, problems)
        if os.path.isfile(self.to):
            problems.add(f"--to {self.to}: this is a file, expected a folder")
