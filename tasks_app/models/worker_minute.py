"""What each worker did, minute by minute: a day of it, for the workers' pages."""

from django.db import models

from tasks_app.models.application import NATIVE_ID, Application


class WorkerMinute(models.Model):
    """One worker of an application in one minute: what ended on it, as recorders count it, and the memory that it told of.

    There is a row if the worker was online when a sample was taken, or if a task ended on it.
    """

    id = models.BigAutoField(primary_key=True)
    # As in a rollup.
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, default=NATIVE_ID, db_default=NATIVE_ID, db_constraint=False, db_index=False
    )
    minute = models.DateTimeField()
    worker = models.CharField(max_length=255)
    succeeded = models.PositiveIntegerField(default=0, db_default=0)
    failed = models.PositiveIntegerField(default=0, db_default=0)
    memory_bytes = models.BigIntegerField(null=True, help_text="The largest that was sampled; unknown of watched workers.")

    class Meta:
        ordering = ("-minute",)
        constraints = (
            # recording/worker_minutes.py and maintenance/samples.py write by it; analytics/histories.py reads the newest minutes,
            # and maintenance/retention.py the oldest.
            models.UniqueConstraint(fields=("minute", "application", "worker"), name="worker_minute_key"),
        )

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.worker}"
