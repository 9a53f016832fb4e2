"""What Zenith keeps in PostgreSQL about tasks."""

from tasks_app.models.batch import Batch
from tasks_app.models.event import TaskEvent
from tasks_app.models.rollup import MinuteRollup
from tasks_app.models.task import Task

__all__ = ["Batch", "MinuteRollup", "Task", "TaskEvent"]
