"""What an application's workers can run, as they told: one row for each set of tasks, of which a rolling deploy has several."""

from django.db import models

from tasks_app.models.application import Application


class Catalogue(models.Model):
    """A set of tasks (zenith_worker/wire/catalogues.py), without anything invalid, and when workers with it were online."""

    id = models.BigAutoField(primary_key=True)
    application = models.ForeignKey(Application, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64)
    tasks = models.JSONField(help_text="By name: description, queue, retries and parameters.")
    left_out = models.PositiveIntegerField(default=0, help_text="Tasks whose description was invalid.")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(help_text="When a worker with it was last online.")

    class Meta:
        ordering = ("-last_seen_at",)
        constraints = (models.UniqueConstraint(fields=("application", "digest"), name="catalogue_key"),)

    def __str__(self) -> str:
        return f"{self.application}: {len(self.tasks)} tasks"
