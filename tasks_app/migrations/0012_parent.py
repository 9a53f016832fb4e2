"""The task that sent a task while it ran."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0011_insight")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="parent_id",
            field=models.UUIDField(blank=True, help_text="The task that sent this one while it ran.", null=True),
        ),
    ]
