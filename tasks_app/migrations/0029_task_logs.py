import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0028_attached_pauses"),
    ]

    operations = [
        migrations.CreateModel(
            name="TaskLog",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("task_id", models.UUIDField(help_text="The key of the task's row, which there may not be.")),
                (
                    "position",
                    models.BigIntegerField(help_text="The place of the entry in its stream, which orders a task's rows."),
                ),
                ("nesting", models.PositiveIntegerField(default=0, help_text="How often the task had replaced itself before.")),
                (
                    "attempt",
                    models.PositiveIntegerField(
                        help_text="Which run of the task, from 1; counted anew after it replaced itself."
                    ),
                ),
                (
                    "delivery",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="How often this run's message had been handed out before."
                    ),
                ),
                ("source", models.PositiveIntegerField(default=0, help_text="Tells apart two runs of the same delivery.")),
                ("first", models.PositiveBigIntegerField(default=0, help_text="How many lines the run had logged before these.")),
                ("lines", models.PositiveIntegerField(help_text="How many lines these are.")),
                ("chars", models.PositiveIntegerField(help_text="How long they are, as they are stored.")),
                (
                    "left_out",
                    models.PositiveBigIntegerField(default=0, help_text="How many lines of earlier runs were removed for these."),
                ),
                (
                    "text",
                    models.TextField(help_text="The lines as JSON: lists of time, level, logger and message; without secrets."),
                ),
                ("recorded_at", models.DateTimeField()),
                (
                    "application",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="tasks_app.application",
                    ),
                ),
            ],
            options={
                "ordering": ("task_id", "position"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("task_id", "application", "position"), include=("chars",), name="task_log_once"
                    )
                ],
            },
        ),
    ]
