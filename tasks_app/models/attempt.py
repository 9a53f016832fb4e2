"""The failed runs of tasks, each with its own error."""

from django.db import models

from tasks_app.models.task import Task
from zenith_worker.wire.states import CHOICES, STATUSES


class Attempt(models.Model):
    """One run of a task that did not succeed.

    A run that succeeded or is still running has no row: the task's own row says everything about it, and most tasks have no
    other run. queries/attempts.py combines the two.
    """

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    nesting = models.PositiveIntegerField(default=0, db_default=0, help_text="How often the task had replaced itself before.")
    attempt = models.PositiveIntegerField(help_text="Which run of the task, from 1; counted anew after it replaced itself.")
    delivery = models.PositiveSmallIntegerField(default=0, help_text="How often this run's message had been handed out before.")
    worker = models.CharField(max_length=255, blank=True, default="")
    received_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField()
    cpu = models.FloatField(null=True, blank=True, help_text="CPU time in seconds.")
    memory = models.BigIntegerField(null=True, blank=True, help_text="The largest memory of its process, in bytes.")
    due_at = models.DateTimeField(null=True, blank=True, help_text="When the next run was to begin, where another was to follow.")
    outcome = models.CharField(
        max_length=9, choices=CHOICES, help_text="RETRY, FAILURE or REVOKED; QUEUED when it was recovered."
    )
    error_type = models.CharField(max_length=255, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    traceback = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("id",)
        constraints = (
            # recording/attempts.py: a run reported twice is one row; queries/attempts.py reads a task's by it.
            models.UniqueConstraint(fields=("task", "nesting", "attempt", "delivery"), name="attempt_once"),
            models.CheckConstraint(condition=models.Q(attempt__gte=1), name="attempt_counts_from_one"),
            models.CheckConstraint(condition=models.Q(outcome__in=STATUSES), name="attempt_outcome_known"),
        )

    def __str__(self) -> str:
        return f"{self.task_id} attempt {self.attempt}"
