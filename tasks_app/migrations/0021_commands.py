"""What other applications can run, and what their workers were asked to send."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0020_application_index")]

    operations = [
        migrations.CreateModel(
            name="Catalogue",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("application", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="tasks_app.application")),
                ("digest", models.CharField(max_length=64)),
                ("tasks", models.JSONField(help_text="By name: description, queue, retries and parameters.")),
                ("left_out", models.PositiveIntegerField(default=0, help_text="Tasks whose description was invalid.")),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField(help_text="When a worker with it was last online.")),
            ],
            options={"ordering": ("-last_seen_at",)},
        ),
        migrations.AddConstraint(
            model_name="catalogue", constraint=models.UniqueConstraint(fields=("application", "digest"), name="catalogue_key")
        ),
        migrations.AddField(
            "task",
            "handed_at",
            models.DateTimeField(blank=True, help_text="When another application's workers were asked to send it.", null=True),
        ),
    ]
