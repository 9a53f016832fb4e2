"""Events of nodes."""

from django.db import models
from django.utils import timezone

from infra_app.models.node import Node


class NodeEvent(models.Model):
    """One thing that was requested of a node, or that happened to it."""

    id = models.BigAutoField(primary_key=True)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="events", db_index=False)
    at = models.DateTimeField(default=timezone.now)
    #: A word: deployed, placed, pulling, created, started, ready, draining, died, out-of-memory, restarted, stopped, removed, … .
    kind = models.CharField(max_length=30)
    message = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("-id",)
        indexes = (
            # A node's page: its newest events.
            models.Index(fields=("node", "-id"), name="node_event_newest"),
        )

    def __str__(self) -> str:
        return f"{self.node_id} {self.kind}"
