"""The options of ``embedtrain adapt`` and ``embedtrain tsdae``; ``checks`` says what is wrong with them."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from embedtrain.data.noise_kinds import WordsName
from embedtrain.models.names import DEFAULT_MODEL, DeviceName, PoolingName, PrecisionName
from embedtrain.training.settings import TrainingSettings

Arm = Literal["mlm", "tsdae", "simcse"]
ARMS: tuple[Arm, ...] = ("mlm", "tsdae", "simcse")
Order = Literal["target-first", "supervised-first"]
ChosenBy = Literal["auto", "dev", "text"]


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """Every option of one adaptation.

    Args:
        sentences: Raw text of the target domain: a TXT file with one sentence a line, or a table with a column text.
        output: The run's folder; the same command continues a run that was cut off.
        gold: Pairs with scores or labels, or positive pairs, to train on after the adaptation.
        dev: Pairs that choose weights and the final model; without them some of gold are held out.
        test: Pairs that judge; nothing is ever chosen by them.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
        score_range: Lowest and highest score in your files, such as 0 5; scaled to 0 ... 1 once, when reading.
        base: The encoder to adapt: a folder, or a model's name.
        arms: Ways to adapt that are compared: mlm (masked language modelling), tsdae, simcse. Each is trained by
            itself, one after the other.
        order: The target domain first and gold after it, or, to see how much worse that is, gold first.
        choose_by: What chooses an arm's weights: the dev pairs, or how well sentences held out of the text are told.
            Auto takes dev where there is one, unless gold is trained on afterwards: what an adaptation does for that
            does not show before it.
        loss: The loss on gold, by its short name; by default what suits the table.
        noise: How TSDAE damages a sentence: delete, shuffle, mask, replace, insert; several have a share of the
            sentences each, such as delete=0.7 shuffle=0.3.
        delete_ratio: Share of the words that the noise delete removes.
        change_ratio: Share of the words that the noises mask, replace and insert touch.
        words: What a word is: what the tokenizer splits at, or jieba's words in Chinese text.
        decoder_layers: Give TSDAE a decoder of its own with so many layers; by default it shares the encoder's weights
            and takes no more memory for them.
        mask_share: Share of the tokens that masked language modelling hides.
        temperature: Divisor of SimCSE's cosines; the lower, the more the hardest texts of a batch count.
        pooling: How an embedding is made of its tokens: as the base does, or by cls, mean or max from now on.
        max_length: Tokens read of a sentence while adapting; by default as many as the base reads. Memory and time grow
            with the longest texts up to it.
        adaptation: How long, how fast and in what batches the encoder is adapted.
        supervised: The same for the training on gold.
        seed: Of every random choice: noise, batches, dropout, held-out rows, bootstrap.
        device: Where to compute; auto takes the GPU where there is one, which is much faster.
        precision: Of matrix products; auto takes bf16 where the hardware has instructions for it, which is faster and
            takes less memory; weights stay in fp32.
        bootstrap_samples: Resamples behind each 95 % interval, at least 100; the time at the end grows with them.
    """

    sentences: str
    output: str
    gold: str | None = None
    dev: str | None = None
    test: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    score_range: tuple[float, float] = (0.0, 1.0)
    base: str = DEFAULT_MODEL
    arms: list[Arm] = field(default_factory=lambda: list(ARMS))
    order: Order = "target-first"
    choose_by: ChosenBy = "auto"
    loss: str | None = None
    noise: list[str] = field(default_factory=lambda: ["delete"])
    delete_ratio: float = 0.6
    change_ratio: float = 0.15
    words: WordsName = "tokenizer"
    decoder_layers: int | None = None
    mask_share: float = 0.15
    temperature: float = 0.05
    pooling: PoolingName = "base"
    max_length: int | None = None
    adaptation: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(
            min_steps=100, batch_size=32, learning_rate=3e-5, weight_decay=0.0, evaluations=5, patience=2
        )
    )
    supervised: TrainingSettings = field(default_factory=TrainingSettings)
    seed: int = 42
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    bootstrap_samples: int = 1000

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return {**asdict(self), "score_range": list(self.score_range)}

    @property
    def arms_chosen_by_dev(self) -> bool:
        """Whether dev pairs, where there are some, choose the weights of the arms."""
        gold_follows = self.gold is not None and self.order == "target-first"
        return self.choose_by == "dev" or (self.choose_by == "auto" and not gold_follows)


@dataclass(frozen=True, kw_only=True)
class TSDAEOptions(AdaptOptions):
    """The same with TSDAE as the only way to adapt, unless others are asked for."""

    arms: list[Arm] = field(default_factory=lambda: ["tsdae"])
