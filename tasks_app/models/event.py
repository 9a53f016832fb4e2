"""Every step of every task, in the order in which the steps were recorded."""

from django.db import models

from tasks_app.models.task import Task
from zenith_worker.wire.states import CHOICES, attempt_of


class TaskEvent(models.Model):
    """One step of a task.

    Ids follow the order of the commits (recording/events.py), so a reader that has seen event N has seen every event before it.
    This lets a live page resume without gaps.
    """

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="events", db_index=False)
    status = models.CharField(max_length=9, choices=CHOICES)
    position = models.BigIntegerField()
    at = models.DateTimeField(help_text="When it happened, by the clock of who saw it.")
    worker = models.CharField(max_length=255, blank=True, default="")
    message = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("id",)
        constraints = (
            # recording/events.py: the same step reported twice is one event; queries/timeline.py.
            models.UniqueConstraint(fields=("task", "position"), name="event_once"),
        )

    def __str__(self) -> str:
        return f"{self.task_id} {self.status}"

    @property
    def attempt(self) -> int:
        """The run of the task that this step belongs to, from 1."""
        return attempt_of(self.position) + 1
