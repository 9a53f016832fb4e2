"""What each worker did, minute by minute."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0032_saved_views")]

    operations = [
        migrations.CreateModel(
            name="WorkerMinute",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("minute", models.DateTimeField()),
                ("worker", models.CharField(max_length=255)),
                ("succeeded", models.PositiveIntegerField(db_default=0, default=0)),
                ("failed", models.PositiveIntegerField(db_default=0, default=0)),
                (
                    "memory_bytes",
                    models.BigIntegerField(
                        help_text="The largest that was sampled; unknown of watched workers.",
                        null=True,
                    ),
                ),
                (
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
            ],
            options={
                "ordering": ("-minute",),
                "constraints": [models.UniqueConstraint(fields=("minute", "application", "worker"), name="worker_minute_key")],
            },
        ),
    ]
