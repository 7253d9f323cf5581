"""The options of ``embedtrain export``."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from embedtrain.errors import Problems


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, where to, and what measures it.

    Args:
        model: The model, which may also stand first without a flag: a run's folder, a model's folder, or
            a model's name.
        output: The folder to write; it must not be there yet.
        onnx: Write onnx/model.onnx.
        int8: Also write onnx/model_qint8.onnx, with 8-bit weights: about a quarter of the size.
        data: Scored pairs that tell what Spearman each form reaches, or sentences of your own, on which the forms'
            embeddings are compared; by default the test set of a run, and else a few built-in sentences.
        columns: Names in your file for ours, such as sentence1=question1; numbers from 0 for a file without header.
        sentences: Sentences that speed is measured on, at most; each form encodes them rounds times.
        rounds: Times that each form encodes the sentences, in turns; the median counts.
        batch_size: Texts encoded at a time.
        seed: Of the bootstrap.
        bootstrap_samples: Resamples behind each 95 % interval, at least 100.
    """

    model: str
    output: str
    onnx: bool = False
    int8: bool = False
    data: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    sentences: int = 512
    rounds: int = 5
    batch_size: int = 32
    seed: int = 42
    bootstrap_samples: int = 1000

    def check(self, problems: Problems) -> None:
        """Note every option that cannot be followed."""
        if not self.onnx:
            problems.add("there is nothing to write: expected --onnx, with --int8 for a smaller file besides")
        for name, least in (
            ("sentences", 1),
            ("rounds", 1),
            ("batch_size", 1),
            ("seed", 0),
            ("bootstrap_samples", 100),
        ):
            value = getattr(self, name)
            if value < least:
                problems.add(f"--{name.replace('_', '-')} is {value}, expected at least {least}")
        output = Path(self.output).expanduser()
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            problems.add(f"--output {self.output}: something is there already; expected a folder that is new or empty")
        # Options are read before torch is imported.
        from embedtrain.models.onnx_files import missing_packages

        missing = missing_packages()
        if missing:
            are = "is" if len(missing) == 1 else "are"
            problems.add(
                f"export needs {', '.join(missing)}, which {are} not installed: pip install 'embedtrain[onnx]'"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
