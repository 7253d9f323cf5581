"""The options of the Augmented SBERT pipeline; ``checks`` says what is wrong with them."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from embedtrain.models.names import DEFAULT_MODEL, DeviceName, PrecisionName
from embedtrain.training.settings import TrainingSettings

# Labelling and training take most of a run's time, and more silver than this has not been seen to help.
SILVER_PER_GOLD = 2
MIN_SILVER = 10_000

TeacherKind = Literal["cross-encoder", "bi-encoder", "ensemble", "auto"]
MemberKind = Literal["cross-encoder", "bi-encoder", "student"]
TeacherStart = Literal["base", "student", "bi-encoder"]
PairPooling = Literal["head", "mean", "cls"]
TeacherAverage = Literal["scores", "ranks"]
CalibrationKind = Literal["auto", "isotonic", "logistic", "none"]
SearchModel = Literal["base", "gold-only"]
SilverTargets = Literal["auto", "pairs", "batch"]
Schedule = Literal["mixed", "silver-then-gold", "gold-then-mixed"]
StudentLoss = Literal["cosine", "cosent", "mnrl"]
# The student is there anyway, and they err in different ways: together they know more than the cross-encoder alone.
DEFAULT_MEMBERS: tuple[MemberKind, ...] = ("cross-encoder", "student")
# Beside a cross-encoder a larger bi-encoder costs little, and has been the best of the three.
MEMBERS_OF_ANOTHER_BASE: tuple[MemberKind, ...] = ("cross-encoder", "bi-encoder", "student")
# Smaller batches, larger steps and more of them than for pairs: a batch of 32 pairs is 2,016 similarities.
DISTILLATION = TrainingSettings(epochs=2.0, batch_size=32, learning_rate=1e-4)


@dataclass(frozen=True, kw_only=True)
class AugSBERTOptions:
    """Every option of one Augmented SBERT run.

    Args:
        gold: Scored pairs to train on: a CSV, TSV, JSON, JSONL or Parquet file, a saved datasets folder or a hub name.
        output: The run's folder; the same command continues a run that was cut off.
        dev: Scored pairs that choose weights, teacher and final model; without them 5 % of gold are held out, 50 to
            1,000 pairs.
        test: Scored pairs that judge, nothing is ever chosen by them; without them a fifth of gold is held out, 50 to
            1,000 pairs.
        unlabeled: Sentences to make new pairs from (also TXT, one sentence a line); gold's own sentences are added.
        pairs: Unlabelled pairs of another domain than gold's, ready made, for the strategy cross-domain.
        columns: Names in your files for ours, such as sentence1=question1; numbers from 0 for a file without header.
        score_range: Lowest and highest score in your files, such as 0 5; scaled to 0 ... 1 once, when reading.
        gold_limit: Use this many gold pairs, drawn at random by the seed; by default all of them.
        base: The student: a folder, or a model's name.
        strategies: How new pairs are found, such as semantic bm25; or shares of silver_limit, semantic=0.7 random=0.3.
        search_model: Whose embeddings semantic search compares: the base's, or the student's that gold trained.
        top_k: Partners searched for each sentence, by each strategy; so many times the sentences are the new pairs at
            most.
        silver_limit: Label at most this many of the new pairs, drawn by the seed; 0 labels all. By default twice the
            gold pairs, but at least 10,000. The time of labelling, and of the students, grows with it.
        teacher: What labels the new pairs: an ensemble of teacher_members, a cross-encoder, a bi-encoder by its cosine,
            or auto, which trains teacher_members and takes the best of them and of their combinations on dev. By
            default an ensemble; with another teacher_base than the students' a bi-encoder.
        teacher_base: What teachers are made of; by default the student's base. A larger one labels better and takes
            longer.
        teacher_members: Who is in the ensemble, and what auto tries; student is the student that gold trained. By
            default cross-encoder and student, and with another teacher_base also bi-encoder.
        teacher_seeds: Train this many teachers of each kind and average them; as many times the time for teachers.
        teacher_start: Weights the cross-encoder starts from: teacher_base's, those of the student that gold trained, or
            those of a teacher_base that gold trained as a bi-encoder.
        teacher_pooling: What the cross-encoder's score is read from: the head that transformers adds, or a new layer
            over the mean of its tokens or the first one (cls).
        teacher_average: Several teachers: average their calibrated scores, or their ranks and calibrate the mean.
        calibration: Bring scores onto gold's scale by what dev shows: by isotonic regression, or by a logistic curve,
            which needs fewer pairs. Auto takes the first from 200 dev pairs on, and leaves cross-encoders alone as they
            are, whose sigmoid was trained on that scale.
        positive_threshold: Silver scores from here on become 1; with the ranking loss, the lowest score of a positive.
        negative_threshold: Silver scores up to here become 0, what lies between is dropped; with the ranking loss, the
            highest score of a hard negative.
        negatives: Hard negatives of each positive, with the ranking loss and negative_threshold.
        silver_confidence: Share of the silver pairs to keep, those on which several teachers agree most.
        silver_targets: What the student learns of the new pairs: each pair's score (pairs), or how similar the teacher
            finds any two texts of a batch of pairs (batch), which takes a teacher of bi-encoders and students alone.
            Auto takes batch from such a teacher, unless loss or thresholds make positives and negatives of scores.
        silver_weight: Factor on the loss of silver pairs, beside 1 for gold.
        silver_schedule: How the augmented student is trained: on gold and silver mixed; on silver, then on gold as the
            gold-only student is; or from the gold-only student's weights on both mixed. By default mixed, and where
            silver_targets is batch silver, then gold.
        loss: The students' loss: the cosine shall equal the score (cosine), rank as the score does, on whatever scale
            (cosent), or find the pairs above positive_threshold among others (mnrl, multiple negatives ranking).
        teacher_training: How cross-encoders are trained; their batches count each order of a pair.
        bi_encoder_training: How bi-encoders are trained that are to be teachers.
        student: How the students are trained; epochs count passes over gold and silver together.
        distillation: How the student is trained on silver before gold where silver_targets is batch; more passes make
            it more like the teacher, and take as many times the time.
        seed: Of every random choice: the gold subset, dev pairs, batches, dropout, bootstrap.
        device: Where to compute; auto takes the GPU where there is one, which is much faster.
        precision: Of matrix products; auto takes bf16 where the hardware has instructions for it, which is faster and
            takes less memory; weights stay in fp32.
        bootstrap_samples: Resamples behind each 95 % interval, at least 100; the time at the end grows with them.
    """

    gold: str
    output: str
    dev: str | None = None
    test: str | None = None
    unlabeled: str | None = None
    pairs: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    score_range: tuple[float, float] = (0.0, 1.0)
    gold_limit: int | None = None
    base: str = DEFAULT_MODEL
    strategies: list[str] = field(default_factory=lambda: ["semantic"])
    search_model: SearchModel = "base"
    top_k: int = 3
    silver_limit: int | None = None
    teacher: TeacherKind | None = None
    teacher_base: str | None = None
    teacher_members: list[MemberKind] | None = None
    teacher_seeds: int = 1
    teacher_start: TeacherStart = "base"
    teacher_pooling: PairPooling = "head"
    teacher_average: TeacherAverage = "scores"
    calibration: CalibrationKind = "auto"
    positive_threshold: float | None = None
    negative_threshold: float | None = None
    negatives: int = 1
    silver_confidence: float = 1.0
    silver_targets: SilverTargets = "auto"
    silver_weight: float = 1.0
    silver_schedule: Schedule | None = None
    loss: StudentLoss = "cosine"
    teacher_training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(batch_size=32, learning_rate=5e-5, evaluations=4)
    )
    bi_encoder_training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(min_steps=80, batch_size=32, learning_rate=3e-5, evaluations=4)
    )
    student: TrainingSettings = field(default_factory=TrainingSettings)
    distillation: TrainingSettings = field(default_factory=lambda: DISTILLATION)
    seed: int = 42
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    bootstrap_samples: int = 1000

    def as_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return {**asdict(self), "score_range": list(self.score_range)}

    def silver_pairs_at_most(self, gold_pairs: int) -> int | None:
        """How many pairs are labelled for so many gold pairs, or None for all that were found."""
        if self.silver_limit is None:
            return max(SILVER_PER_GOLD * gold_pairs, MIN_SILVER)
        return self.silver_limit or None

    def student_steps(self, *, gold_pairs: int, sentences: int, ready_pairs: int = 0) -> int:
        """Optimiser steps at most, of each phase of either student.

        Counted before anything is sampled, with as many silver pairs as the strategies could find and the limit lets
        through: the gold-only student, which is trained first, has the same as the augmented one.
        """
        strategies = {name for word in self.strategies for name in word.partition("=")[0].split("+")}
        findable = self.top_k * sentences * len(strategies) + ready_pairs
        at_most = self.silver_pairs_at_most(gold_pairs)
        silver = findable if at_most is None else min(findable, at_most)
        return self.student.steps_for(gold_pairs + silver)

    @property
    def has_another_teacher_base(self) -> bool:
        """Whether teachers are made of something else than the students."""
        return self.teacher_base not in (None, self.base)

    @property
    def teacher_kind(self) -> TeacherKind:
        """What labels, the default where nothing is said."""
        if self.teacher is not None:
            return self.teacher
        return "bi-encoder" if self.has_another_teacher_base and self.teacher_members is None else "ensemble"

    @property
    def members(self) -> tuple[MemberKind, ...]:
        """Who is in an ensemble, the default where nothing is said."""
        if self.teacher_members is not None:
            return tuple(self.teacher_members)
        return MEMBERS_OF_ANOTHER_BASE if self.has_another_teacher_base else DEFAULT_MEMBERS

    @property
    def takes_pairs_as_labels(self) -> bool:
        """Whether silver pairs become positives, negatives or labels of 1 and 0."""
        return self.loss == "mnrl" or self.labels_by_thresholds

    @property
    def labels_by_thresholds(self) -> bool:
        """Whether silver labels are 1 and 0 in place of scores."""
        return self.loss != "mnrl" and self.positive_threshold is not None and self.negative_threshold is not None
