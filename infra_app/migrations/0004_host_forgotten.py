"""Hosts that do not come back can be forgotten."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("infra_app", "0003_agent")]

    operations = [
        migrations.AddField(
            "host", "forgotten_at", models.DateTimeField(help_text="Since when it is counted as gone for good.", null=True)
        ),
    ]
