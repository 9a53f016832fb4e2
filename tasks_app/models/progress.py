"""How far tasks are, as they tell."""

from django.db import models

from tasks_app.models.task import Task


class TaskProgress(models.Model):
    """What a task told last of how far it is. Most tasks tell nothing and have no row. It is kept after the task's end.

    Written only by recording/progress.py: of all reports, the newest of the newest run.
    """

    task = models.OneToOneField(Task, on_delete=models.CASCADE, primary_key=True, related_name="progress")
    run = models.BigIntegerField(help_text="The run and delivery that told it: the upper bits of a position (states.py).")
    at = models.DateTimeField()
    current = models.FloatField(null=True, blank=True, help_text="Steps that are done.")
    total = models.FloatField(null=True, blank=True, help_text="All steps; NULL if that is unknown.")
    state = models.CharField(max_length=100, blank=True, default="", help_text="The name of the task's custom state.")
    meta = models.JSONField(null=True, blank=True, help_text="What else the task tells with it.")
    earlier_at = models.DateTimeField(null=True, blank=True, help_text="A time some reports ago, for its rate.")
    earlier_current = models.FloatField(null=True, blank=True, help_text="Steps that were done by then.")
    samples = models.PositiveSmallIntegerField(default=0, help_text="How many reports lie between the two.")

    def __str__(self) -> str:
        return f"progress of {self.task_id}"
