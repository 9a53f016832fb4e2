"""The models of tasks."""

from tasks_app.models.application import Application
from tasks_app.models.attached_pause import AttachedPause
from tasks_app.models.attempt import Attempt
from tasks_app.models.batch import Batch
from tasks_app.models.catalogue import Catalogue
from tasks_app.models.connection_test import ConnectionTest, EngineKey
from tasks_app.models.dead_letter import DeadLetter
from tasks_app.models.event import TaskEvent
from tasks_app.models.idempotency_key import IdempotencyKey
from tasks_app.models.message import TaskMessage
from tasks_app.models.progress import TaskProgress
from tasks_app.models.queue_pause import QueuePause
from tasks_app.models.replay_run import ReplayRun
from tasks_app.models.rollup import LatePeriod, MinuteRollup, PeriodRollup
from tasks_app.models.sample import LoadSample, QueueSample
from tasks_app.models.saved_view import SavedView
from tasks_app.models.task import Task
from tasks_app.models.task_log import TaskLog
from tasks_app.models.worker_minute import WorkerMinute
from tasks_app.models.workflow import Workflow

__all__ = [
    "Application",
    "AttachedPause",
    "Attempt",
    "Batch",
    "Catalogue",
    "ConnectionTest",
    "DeadLetter",
    "EngineKey",
    "IdempotencyKey",
    "LatePeriod",
    "LoadSample",
    "MinuteRollup",
    "PeriodRollup",
    "QueuePause",
    "QueueSample",
    "ReplayRun",
    "SavedView",
    "Task",
    "TaskEvent",
    "TaskLog",
    "TaskMessage",
    "TaskProgress",
    "WorkerMinute",
    "Workflow",
]
