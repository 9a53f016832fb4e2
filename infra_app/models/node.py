"""Worker nodes: containers that each run a Celery worker of this project."""

from django.db import models
from django.utils import timezone

from infra_app.models.group import NodeGroup
from infra_app.models.host import Host
from infra_app.states import STORED, Desired, NodeStatus
from zenith_worker.wire.ids import new_id


class Node(models.Model):
    """One node: its desired state, and what its host's agent observed.

    Only infra_app/nodes.py writes the upper fields (infra_app/scheduler.py: the host), and only the agent writes the lower ones.
    While a node has no host there is no agent, and those two modules write its status.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    group = models.ForeignKey(NodeGroup, on_delete=models.PROTECT, related_name="nodes")
    name = models.CharField(max_length=63)
    host = models.ForeignKey(
        Host, null=True, on_delete=models.PROTECT, related_name="nodes", help_text="None until one has room."
    )
    desired = models.CharField(max_length=8, choices=Desired, default=Desired.RUNNING)
    leaving = models.BooleanField(default=False, help_text="Removed once it is drained: its group got smaller.")
    #: Incremented by each change of the desired state; `observed_generation` is the one the agent has acted on.
    generation = models.PositiveIntegerField(default=1)
    #: Incremented to replace the container: for a restart, or a new image or environment of the group.
    revision = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)

    status = models.CharField(max_length=8, choices=[(s.value, s.label) for s in STORED], default=NodeStatus.PENDING)
    reason = models.TextField(blank=True, default="", help_text="Why it is not READY, in a sentence for people.")
    observed_generation = models.PositiveIntegerField(default=0)
    observed_revision = models.PositiveIntegerField(default=0)
    container_id = models.CharField(max_length=64, blank=True, default="")
    image_id = models.CharField(max_length=80, blank=True, default="")
    slot = models.PositiveIntegerField(null=True, help_text="Of a Swarm service.")
    exit_code = models.IntegerField(null=True)
    oom_killed = models.BooleanField(default=False)
    restarts = models.PositiveIntegerField(default=0, help_text="How often it ended by itself and was started again.")
    falls = models.PositiveIntegerField(default=0, help_text="How often in a row it failed, or ended soon after its start.")
    retry_at = models.DateTimeField(null=True, help_text="When it is tried again after it fell.")
    started_at = models.DateTimeField(null=True)
    ready_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    observed_at = models.DateTimeField(null=True)
    log_tail = models.TextField(blank=True, default="", help_text="The last lines of a container that has ended.")

    #: The latest usage; its history is in NodeSample.
    cpu_percent = models.FloatField(null=True, help_text="100 is one CPU.")
    memory_bytes = models.BigIntegerField(null=True)
    network_rx_bytes = models.BigIntegerField(null=True)
    network_tx_bytes = models.BigIntegerField(null=True)
    sampled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("name",), condition=~models.Q(status=NodeStatus.REMOVED), name="node_name_once"),
        )
        indexes = (
            # The agent reads its host's nodes, twice a second while nothing changes.
            models.Index(fields=("host", "status"), name="node_by_host"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def worker(self) -> str:
        """The name of its Celery worker, which carries the node's id."""
        return worker_name(self)

    @property
    def shown_status(self) -> NodeStatus:
        """Its status as people see it: UNKNOWN while its host is unreachable. Reads `host`."""
        status = NodeStatus(self.status)
        if status is NodeStatus.REMOVED or self.host is None or self.host.online:
            return status
        return NodeStatus.UNKNOWN


def worker_name(node: Node) -> str:
    """Return the name of a node's Celery worker: `NAME@ID`."""
    return f"{node.name}@{node.id}"
