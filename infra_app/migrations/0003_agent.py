"""What the agent has to remember: the mark on what it makes, its place in a swarm, and how often a node fell."""

from uuid import uuid4

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("infra_app", "0002_node_leaving")]

    operations = [
        migrations.AddField("host", "key", models.UUIDField(default=uuid4, editable=False, unique=True)),
        migrations.AddField(
            "host",
            "swarm_node_id",
            models.CharField(blank=True, default="", help_text="Its own, within that swarm.", max_length=100),
        ),
        migrations.AddField(
            "node",
            "falls",
            models.PositiveIntegerField(default=0, help_text="How often in a row it failed, or ended soon after its start."),
        ),
        migrations.AlterField(
            "node", "retry_at", models.DateTimeField(null=True, help_text="When it is tried again after it fell.")
        ),
    ]
