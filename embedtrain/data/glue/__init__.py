"""The nine tasks of GLUE from local files: what they are, where their files lie, and their rows."""

from embedtrain.data.glue.reading import GLUEData, GLUEFolder, GLUEHub, open_glue
from embedtrain.data.glue.tasks import TASKS, GLUETask, find_task

__all__ = ["TASKS", "GLUEData", "GLUEFolder", "GLUEHub", "GLUETask", "find_task", "open_glue"]
