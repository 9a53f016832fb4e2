"""What tasks log."""

from django.db import models

from tasks_app.models.application import Application


class TaskLog(models.Model):
    """Successive lines of one run of a task: what it logged between two looks of its worker.

    A row for each line would cost a million tasks with five lines each five million rows with an index entry each
    (docs/decisions/0024-task-logs.md). Nothing ties it to the task's row: lines may come before that, and may stay without one
    until they are too old.
    """

    id = models.BigAutoField(primary_key=True)
    task_id = models.UUIDField(help_text="The key of the task's row, which there may not be.")
    # As in a task: no constraint, and an application with rows is never removed.
    application = models.ForeignKey(Application, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    position = models.BigIntegerField(help_text="The place of the entry in its stream, which orders a task's rows.")
    nesting = models.PositiveIntegerField(default=0, help_text="How often the task had replaced itself before.")
    attempt = models.PositiveIntegerField(help_text="Which run of the task, from 1; counted anew after it replaced itself.")
    delivery = models.PositiveSmallIntegerField(default=0, help_text="How often this run's message had been handed out before.")
    source = models.PositiveIntegerField(default=0, help_text="Tells apart two runs of the same delivery.")
    first = models.PositiveBigIntegerField(default=0, help_text="How many lines the run had logged before these.")
    lines = models.PositiveIntegerField(help_text="How many lines these are.")
    chars = models.PositiveIntegerField(help_text="How long they are, as they are stored.")
    left_out = models.PositiveBigIntegerField(default=0, help_text="How many lines of earlier runs were removed for these.")
    text = models.TextField(help_text="The lines as JSON: lists of time, level, logger and message; without secrets.")
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ("task_id", "position")
        constraints = (
            # recording/log_recorder.py: an entry that is read again is stored once; queries/task_logs.py reads a task's lines by
            # it, in their order. Retention adds up the lengths from the index alone.
            models.UniqueConstraint(fields=("task_id", "application", "position"), include=("chars",), name="task_log_once"),
        )

    def __str__(self) -> str:
        return f"{self.task_id} from line {self.first}"
