"""The relay's own indexes leave other applications' tasks out; those have one of their own.

Indexes are built beside running processes; the new ones stand before the old ones go. A run that was stopped half way may have
left an invalid index, so each is dropped first.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


def built(index):
    """Return the operations that build an index, also if an earlier run was stopped in the middle."""
    return migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}", ""), AddIndexConcurrently("task", index)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0021_commands")]

    operations = [
        *built(
            models.Index(
                fields=["status", "not_before", "id"],
                name="task_due_own",
                condition=(Q(status="SCHEDULED") | Q(held=True)) & Q(application=1),
            )
        ),
        *built(models.Index(fields=["queue", "id"], name="task_pending_own", condition=Q(status="PENDING", application=1))),
        *built(
            models.Index(
                fields=["application", "status", "not_before", "id"],
                name="task_to_hand_over",
                condition=Q(status__in=("SCHEDULED", "PENDING")) & ~Q(application=1),
            )
        ),
        RemoveIndexConcurrently("task", "task_due"),
        RemoveIndexConcurrently("task", "task_pending"),
    ]
