"""The nine tasks of GLUE from local files: what they are, where their files lie, and their rows."""

from typing import TYPE_CHECKING

from embedtrain.lazy import offered

if TYPE_CHECKING:
    from embedtrain.data.glue.reading import GLUEData, GLUEFolder, GLUEHub, open_glue
    from embedtrain.data.glue.tasks import TASKS, GLUETask, find_task

__all__ = ["TASKS", "GLUEData", "GLUEFolder", "GLUEHub", "GLUETask", "find_task", "open_glue"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = offered(__name__, __all__, modules=("tasks", "reading"))
