"""What a task's message carries beside its name and arguments, for tasks that other programs sent."""

from django.db import models

from tasks_app.models.task import Task


class TaskMessage(models.Model):
    """The extras of a task's message (zenith_worker/wire/extras.py). Few tasks have a row, since most messages have none."""

    task = models.OneToOneField(Task, on_delete=models.CASCADE, primary_key=True, related_name="message")
    nesting = models.PositiveIntegerField(
        default=0, help_text="How often the task had replaced itself: the newest message is kept."
    )
    extras = models.JSONField(help_text="Headers, what follows the task, and of a replacement its name and arguments.")

    def __str__(self) -> str:
        return f"message of {self.task_id}"
