import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_app", "0029_task_logs"),
    ]

    operations = [
        migrations.CreateModel(
            name="TaskProgress",
            fields=[
                (
                    "task",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="progress",
                        serialize=False,
                        to="tasks_app.task",
                    ),
                ),
                (
                    "run",
                    models.BigIntegerField(
                        help_text="The run and delivery that told it: the upper bits of a position (states.py)."
                    ),
                ),
                ("at", models.DateTimeField()),
                ("current", models.FloatField(blank=True, help_text="Steps that are done.", null=True)),
                ("total", models.FloatField(blank=True, help_text="All steps; NULL if that is unknown.", null=True)),
                (
                    "state",
                    models.CharField(blank=True, default="", help_text="The name of the task's custom state.", max_length=100),
                ),
                ("meta", models.JSONField(blank=True, help_text="What else the task tells with it.", null=True)),
                ("earlier_at", models.DateTimeField(blank=True, help_text="A time some reports ago, for its rate.", null=True)),
                ("earlier_current", models.FloatField(blank=True, help_text="Steps that were done by then.", null=True)),
                ("samples", models.PositiveSmallIntegerField(default=0, help_text="How many reports lie between the two.")),
            ],
        ),
        migrations.AddField(
            model_name="task",
            name="cpu",
            field=models.FloatField(blank=True, help_text="CPU seconds of the run that ended it; NULL: unknown.", null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="memory",
            field=models.BigIntegerField(
                blank=True, help_text="The largest memory of its process meanwhile, in bytes.", null=True
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="cpu",
            field=models.FloatField(blank=True, help_text="CPU time in seconds.", null=True),
        ),
        migrations.AddField(
            model_name="attempt",
            name="memory",
            field=models.BigIntegerField(blank=True, help_text="The largest memory of its process, in bytes.", null=True),
        ),
        *(
            migrations.AddField(model_name=model, name=name, field=field)
            for model in ("minuterollup", "periodrollup")
            for name, field in (
                ("cpu_seconds", models.FloatField(db_default=0.0, default=0.0)),
                (
                    "cpu_histogram",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(), db_default=[], default=list, size=None
                    ),
                ),
                (
                    "memory_histogram",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(), db_default=[], default=list, size=None
                    ),
                ),
            )
        ),
    ]
