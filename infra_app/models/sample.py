"""A short history of the nodes' resource usage."""

from django.db import models

from infra_app.models.node import Node


class NodeSample(models.Model):
    """The resource usage of a node at one moment; kept for a day."""

    id = models.BigAutoField(primary_key=True)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="samples", db_index=False)
    at = models.DateTimeField()
    cpu_percent = models.FloatField(help_text="100 is one CPU.")
    memory_bytes = models.BigIntegerField()
    network_rx_bytes = models.BigIntegerField(help_text="Since the container started.")
    network_tx_bytes = models.BigIntegerField(help_text="Since the container started.")

    class Meta:
        ordering = ("-id",)
        indexes = (
            # A node's page charts the newest.
            models.Index(fields=("node", "-at"), name="node_sample_newest"),
            # Pruning removes the oldest.
            models.Index(fields=("at",), name="node_sample_at"),
        )

    def __str__(self) -> str:
        return f"{self.node_id} {self.at:%H:%M:%S}"
