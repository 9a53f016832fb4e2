"""Samples of queues are told apart by application; those so far are of Zenith's own. A constant default writes no row.

Nothing is locked for long: the new unique index is built beside running processes before it takes the place of the old one.
Engines of the version before take no samples meanwhile: they know the old key.
"""

import django.db.models.deletion
from django.db import migrations, models


def swapped(columns, index):
    return [
        # Whoever stopped a migration half way may have left an invalid index.
        f"DROP INDEX CONCURRENTLY IF EXISTS {index}",
        f"CREATE UNIQUE INDEX CONCURRENTLY {index} ON tasks_app_queuesample ({columns})",
        f"ALTER TABLE tasks_app_queuesample DROP CONSTRAINT queue_sample_key, "
        f"ADD CONSTRAINT queue_sample_key UNIQUE USING INDEX {index}",
    ]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_app", "0026_entering_urls")]

    operations = [
        migrations.AddField(
            "queuesample",
            "application",
            models.ForeignKey(
                db_constraint=False,
                db_default=1,
                db_index=False,
                default=1,
                on_delete=django.db.models.deletion.PROTECT,
                to="tasks_app.application",
            ),
        ),
        migrations.AlterField(
            "queuesample",
            "unacknowledged",
            models.PositiveIntegerField(help_text="Messages that workers held; 0 of other applications: not known."),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint("queuesample", "queue_sample_key"),
                migrations.AddConstraint(
                    "queuesample",
                    models.UniqueConstraint(fields=("queue", "minute", "application"), name="queue_sample_key"),
                ),
            ],
            database_operations=[
                migrations.RunSQL(
                    swapped("queue, minute, application_id", "queue_sample_key_new"),
                    swapped("queue, minute", "queue_sample_key_old"),
                )
            ],
        ),
    ]
