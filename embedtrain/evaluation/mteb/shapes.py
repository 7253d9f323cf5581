"""What data each of mteb's text task types is made of: columns and what they hold."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from embedtrain.errors import UserError

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

Holds = Literal["text", "texts", "number", "numbers", "zero or one", "class", "classes", "class or classes", "id"]


@dataclass(frozen=True)
class Column:
    """A column of a task's table.

    Attributes:
        name: As mteb calls it.
        holds: What its values are; the plurals are lists.
    """

    name: str
    holds: Holds


@dataclass(frozen=True)
class Shape:
    """What a task's data is made of.

    Attributes:
        columns: Of its tables; none for retrieval and reranking, which have corpus, queries and qrels.
        train_split: The split that a classifier learns from beside the splits that are judged, or None.
        languages_in_columns: Whether all languages stand in one table, a column each, so that a subset is two columns.
    """

    columns: tuple[Column, ...]
    train_split: str | None = None
    languages_in_columns: bool = False

    @property
    def is_retrieval(self) -> bool:
        """Whether the data is a corpus, queries and judgements."""
        return not self.columns and not self.languages_in_columns


def shape_of(task: "AbsTask") -> Shape:
    """The shape of a task's data.

    Raises:
        UserError: When the task is not made of text alone, or of a type that is not read from files.
    """
    from mteb import abstasks
    from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
    from mteb.abstasks.regression import AbsTaskRegression
    from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining
    from mteb.abstasks.text.summarization import AbsTaskSummarization

    name = task.metadata.name
    if list(task.metadata.modalities) != ["text"]:
        raise UserError(f"task {name}: it is made of {', '.join(task.metadata.modalities)}, expected text alone")
    if isinstance(task, abstasks.AbsTaskRetrieval):
        return Shape(())
    if isinstance(task, abstasks.AbsTaskSTS):
        return Shape((*_texts(*task.column_names), Column("score", "number")))
    if isinstance(task, abstasks.AbsTaskPairClassification):
        texts = _texts(task.input1_column_name, task.input2_column_name)
        return Shape((*texts, Column(task.label_column_name, "zero or one")))
    if isinstance(task, abstasks.AbsTaskClassification):
        label: Holds = "class"
        if isinstance(task, AbsTaskMultilabelClassification):
            label = "classes"
        elif isinstance(task, AbsTaskRegression):
            label = "number"
        return _classification(task, label)
    if isinstance(task, abstasks.AbsTaskClusteringLegacy):
        return Shape((Column(task.input_column_name, "texts"), Column(task.label_column_name, "classes")))
    if isinstance(task, abstasks.AbsTaskClustering):
        return Shape((*_texts(task.input_column_name), Column(task.label_column_name, "class or classes")))
    if isinstance(task, AbsTaskBitextMining):
        return Shape((), languages_in_columns=True) if task.parallel_subsets else Shape(_texts(*task._DEFAULT_PAIR[0]))
    if isinstance(task, AbsTaskSummarization):
        return Shape(
            (
                Column(task.text_column_name, "text"),
                Column(task.human_summaries_column_name, "texts"),
                Column(task.machine_summaries_column_name, "texts"),
                Column(task.relevancy_column_name, "numbers"),
            )
        )
    raise UserError(f"task {name}: tasks of the type {task.metadata.type} are not read from files")


def _texts(*names: Any) -> tuple[Column, ...]:
    return tuple(Column(str(name), "text") for name in names)


def _classification(task: Any, label: Holds) -> Shape:
    columns = (*_texts(task.input_column_name), Column(task.label_column_name, label))
    # With cross-validation the split that is judged is also the one that is learned from.
    return Shape(columns, train_split=None if task.is_cross_validation else task.train_split)
