"""Workflows: tasks that belong together, such as the steps of a chain, the parts of a group, or what a task sends."""

from django.db import models

from tasks_app.models.application import NATIVE_ID, Application


class Workflow(models.Model):
    """One workflow. Its id is the key of its first task, or of its group if that was sent by no task.

    A row is inserted with the first task that has others after it or beside it (recording/workflows.py). A task of a group may
    have tasks of its own: their row is a workflow whose task has a `root_id`, and so a part of that one.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    # No constraint, as for tasks.
    application = models.ForeignKey(
        Application, on_delete=models.PROTECT, default=NATIVE_ID, db_default=NATIVE_ID, db_constraint=False, db_index=False
    )
    created_at = models.DateTimeField(help_text="When its first task that is known was sent.")

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            # workflows/listing.py: newest first; maintenance/expired.py: oldest first.
            models.Index(fields=("created_at", "id"), name="workflow_newest"),
            # workflows/listing.py: those of one application.
            models.Index(fields=("application", "created_at", "id"), name="workflow_application_newest"),
        )

    def __str__(self) -> str:
        return f"workflow {self.id}"
