"""Figures, dead letters and batches are told apart by application.

Nothing is locked for long: each unique index is built beside running processes before it
takes the place of the old one. Engines of the version before must be stopped: they cannot count outcomes by the new keys, and
would set the reports aside. Engines of this version that started too early wait.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


def rekeyed(model, name, old, new):
    """Return the operation that makes other fields the key of a model's rows."""
    table = f"tasks_app_{model}"

    def swapped(fields, index):
        columns = ", ".join("application_id" if field == "application" else field for field in fields)
        return [
            # Whoever stopped a migration half way may have left an invalid index.
            f"DROP INDEX CONCURRENTLY IF EXISTS {index}",
            f"CREATE UNIQUE INDEX CONCURRENTLY {index} ON {table} ({columns})",
            f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} UNIQUE USING INDEX {index}",
        ]

    return migrations.SeparateDatabaseAndState(
        state_operations=[
            migrations.RemoveConstraint(model, name),
            migrations.AddConstraint(model, models.UniqueConstraint(fields=new, name=name)),
        ],
        database_operations=[migrations.RunSQL(swapped(new, f"{name}_new"), swapped(old, f"{name}_old"))],
    )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0023_applications_of_figures")]

    operations = [
        rekeyed("minuterollup", "rollup_key", ("minute", "name", "queue"), ("minute", "name", "queue", "application")),
        rekeyed(
            "periodrollup",
            "period_key",
            ("seconds", "scope", "name", "queue", "start"),
            ("seconds", "scope", "name", "queue", "start", "application"),
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS letter_attached", ""),
        AddIndexConcurrently(
            "deadletter",
            models.Index(
                condition=models.Q(("application", 1), _negated=True), fields=["application", "id"], name="letter_attached"
            ),
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS task_batch_attached", ""),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=models.Q(("batch__isnull", False)) & ~models.Q(("application", 1)),
                fields=["application", "batch"],
                name="task_batch_attached",
            ),
        ),
    ]
