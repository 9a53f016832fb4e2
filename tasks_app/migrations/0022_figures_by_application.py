"""Figures, dead letters and batches by application; those so far are of Zenith's own.

Nothing is locked for long: a constant default writes no row, and each unique index is built beside running processes before it
takes the place of the old one. Engines of the version before must be stopped: they cannot count outcomes by the new keys, and
would set the reports aside. Engines of this version that started too early wait.
"""

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


def application():
    return models.ForeignKey(
        db_constraint=False,
        db_default=1,
        db_index=False,
        default=1,
        on_delete=django.db.models.deletion.PROTECT,
        to="tasks_app.application",
    )


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

    dependencies = [("tasks_app", "0021_commands")]

    operations = [
        *(migrations.AddField(model, "application", application()) for model in ("minuterollup", "periodrollup", "deadletter")),
        rekeyed("minuterollup", "rollup_key", ("minute", "name", "queue"), ("minute", "name", "queue", "application")),
        rekeyed(
            "periodrollup",
            "period_key",
            ("seconds", "scope", "name", "queue", "start"),
            ("seconds", "scope", "name", "queue", "start", "application"),
        ),
        AddIndexConcurrently(
            "deadletter",
            models.Index(
                condition=models.Q(("application", 1), _negated=True), fields=["application", "id"], name="letter_attached"
            ),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=models.Q(("batch__isnull", False)) & ~models.Q(("application", 1)),
                fields=["application", "batch"],
                name="task_batch_attached",
            ),
        ),
    ]
