"""The options of ``embedtrain mine``; ``checks`` says what is wrong with them."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from embedtrain.mining.names import Engine, SearchName
from embedtrain.mining.negative_rules import NegativeRules, SamplingStrategy
from embedtrain.models.names import DEFAULT_MODEL, DeviceName, PrecisionName

Mode = Literal["pairs", "hard-negatives", "tuples"]
# Few sentences of a sample have several partners that score low enough.
TUPLE_NEGATIVES = 1


@dataclass(frozen=True, kw_only=True)
class MineOptions:
    """Every option of one mining: of new pairs to label, or with hard_negatives or scored of tuples to train on.

    Args:
        output: The run's folder; the same command continues a run that was cut off. What is found is in its
            pairs.parquet, or tuples.parquet.
        unlabeled: Sentences to make pairs of (also TXT, one sentence a line), or to take hard negatives from; gold's
            own sentences are added, and so are the positives.
        gold: Scored pairs that are known already; kde draws pairs with scores spread as theirs.
        known: Further tables of pairs that shall not come out, such as those of dev and test.
        pairs: Unlabelled pairs of another domain, for cross-domain, which then searches for none.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
        score_range: Lowest and highest score in your files, such as 0 5; scaled to 0 ... 1 once, when reading.
        strategy: How new pairs are found: semantic, bm25, random, kde, cross-domain, or several, also joined by + such
            as bm25+semantic; or shares of limit, such as semantic=0.5 random=0.3 bm25=0.2.
        top_k: Partners searched for each sentence, by each strategy; so many times the sentences are the pairs at most.
        limit: Pairs wanted at most; of more, as many are drawn by the seed.
        labelled_pairs: Random pairs that the teacher scores for kde, which is what takes its time; by default eight for
            each pair wanted.
        calibrate: Bring the teacher's scores onto the scale of gold's by isotonic regression on gold, for kde.
        model: Whose embeddings are searched: a folder, or a model's name.
        prompts: Words put before texts by a model that was trained with them, such as query="query: "
            document="passage: "; query stands before anchors, document before positives and further texts. A model that
            has prompts of its own gets those unless told otherwise.
        teacher: One or more trained models, cross-encoders or bi-encoders, whose mean score kde draws by, and by which
            hard negatives are told from false ones.
        sigmoid: Put a sigmoid on the outputs of teachers, if they are cross-encoders, whose own files ask for none.
        hard_negatives: Find hard negatives for the pairs in positives, instead of pairs to label.
        positives: Positive pairs (anchor, positive); or pairs with a label, of which those with 1 count, or with a
            score, of which those from positive_threshold on count.
        num_negatives: Negatives for each positive pair; by default 3, out of scored pairs 1.
        range_min: Nearest candidates that are skipped: they are the likeliest false negatives.
        range_max: Rank of the last candidate looked at; by default range_min and ten for each negative. A teacher
            scores them all.
        max_score: A negative scores at most this, by the teacher's score or the model's cosine.
        min_score: A negative scores at least this, by the same score.
        absolute_margin: A negative scores at least this much below the positive.
        relative_margin: A negative scores at least this share of the positive's score below it.
        sampling_strategy: top takes the nearest candidates that may be negatives, random draws among them.
        output_scores: Write the scores of positives and negatives beside them.
        scored: Silver or other scored pairs, which two thresholds turn into anchor, positive and negatives.
        positive_threshold: Scored pairs from here on are positive.
        negative_threshold: Scored pairs up to here are negative; what lies between the thresholds is dropped.
        both_orders: Out of a scored pair, make a tuple with either sentence as the anchor.
        search: How neighbours are searched: exact, whose time grows with the square of the sentences; faiss, which is
            faster for many and misses some; or auto, which takes what fits their number.
        engine: Where embeddings and BM25 candidates are made: in this process, or by the workers of a Ray cluster.
        seed: Of everything that is drawn.
        device: Where to compute; auto takes the GPU where there is one, which is much faster.
        precision: Of matrix products in models; auto takes bf16 where the hardware has instructions for it, which is
            faster and takes less memory.
    """

    output: str
    unlabeled: str | None = None
    gold: str | None = None
    known: list[str] = field(default_factory=list)
    pairs: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    score_range: tuple[float, float] = (0.0, 1.0)
    strategy: list[str] = field(default_factory=lambda: ["semantic"])
    top_k: int = 3
    limit: int | None = None
    labelled_pairs: int | None = None
    calibrate: bool = False
    model: str = DEFAULT_MODEL
    prompts: dict[str, str] = field(default_factory=dict)
    teacher: list[str] = field(default_factory=list)
    sigmoid: bool = False
    hard_negatives: bool = False
    positives: str | None = None
    num_negatives: int | None = None
    range_min: int = NegativeRules.range_min
    range_max: int | None = NegativeRules.range_max
    max_score: float | None = NegativeRules.max_score
    min_score: float | None = NegativeRules.min_score
    absolute_margin: float | None = NegativeRules.absolute_margin
    relative_margin: float | None = NegativeRules.relative_margin
    sampling_strategy: SamplingStrategy = NegativeRules.sampling_strategy
    output_scores: bool = False
    scored: str | None = None
    positive_threshold: float | None = None
    negative_threshold: float | None = None
    both_orders: bool = False
    search: SearchName = "auto"
    engine: Engine = "local"
    seed: int = 42
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return {**asdict(self), "score_range": list(self.score_range)}

    @property
    def mode(self) -> Mode:
        """What is mined."""
        if self.hard_negatives:
            return "hard-negatives"
        return "pairs" if self.scored is None else "tuples"

    @property
    def negatives(self) -> int:
        """Negatives for each positive pair."""
        if self.num_negatives is not None:
            return self.num_negatives
        return TUPLE_NEGATIVES if self.mode == "tuples" else NegativeRules.num_negatives

    @property
    def rules(self) -> NegativeRules:
        """Which candidates may be negatives."""
        return NegativeRules(
            num_negatives=self.negatives,
            range_min=self.range_min,
            range_max=self.range_max,
            max_score=self.max_score,
            min_score=self.min_score,
            absolute_margin=self.absolute_margin,
            relative_margin=self.relative_margin,
            sampling_strategy=self.sampling_strategy,
            seed=self.seed,
        )
