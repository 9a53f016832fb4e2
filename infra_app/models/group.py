"""Node groups: what their nodes run, how many there are, and how their number follows a queue."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from infra_app.models.host import Host
from zenith_worker.wire.ids import new_id


class GroupKind(models.TextChoices):
    """What keeps the replicas running: agents (CONTAINERS) or a swarm (SERVICE)."""

    CONTAINERS = "CONTAINERS", "Containers"
    SERVICE = "SERVICE", "Swarm service"


class RestartPolicy(models.TextChoices):
    """When a container that exited on its own is restarted; Docker's names."""

    ALWAYS = "always", "Always"
    ON_FAILURE = "on-failure", "On failure"
    NO = "no", "Never"


class NodeGroup(models.Model):
    """The shared configuration of some nodes. Every node belongs to a group; a node deployed alone is a group of one.

    `replicas` is the size that people or the autoscaler set. A group of containers has that many nodes whose desired state is
    RUNNING; the containers of a Swarm service are created by the swarm, and its nodes are recorded as observed.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=50)
    kind = models.CharField(max_length=10, choices=GroupKind, default=GroupKind.CONTAINERS)
    replicas = models.PositiveIntegerField(default=1)
    removed_at = models.DateTimeField(null=True)

    image = models.CharField(max_length=255)
    queues = ArrayField(models.CharField(max_length=100))
    concurrency = models.PositiveIntegerField(default=1)
    memory_mb = models.PositiveIntegerField(default=512)
    cpus = models.FloatField(default=1.0)
    #: Names and values; a value whose name counts as secret is masked.
    environment = models.JSONField(default=dict)
    #: Names and values that are passed as files and never shown.
    secrets = models.JSONField(default=dict)
    restart_policy = models.CharField(max_length=10, choices=RestartPolicy, default=RestartPolicy.ALWAYS)

    region = models.CharField(max_length=63, blank=True, default="", help_text="Only hosts of this region; empty means any.")
    labels = models.JSONField(default=dict, help_text="Only hosts with these labels.")
    host = models.ForeignKey(Host, null=True, on_delete=models.PROTECT, related_name="+", help_text="Only this host.")

    autoscale = models.BooleanField(default=False)
    dry_run = models.BooleanField(default=False, help_text="The autoscaler decides and says so, and changes nothing.")
    scale_queue = models.CharField(max_length=100, blank=True, default="")
    min_replicas = models.PositiveIntegerField(default=1)
    max_replicas = models.PositiveIntegerField(default=1)
    target_seconds = models.PositiveIntegerField(default=60, help_text="In which the queue shall drain.")
    cooldown_seconds = models.PositiveIntegerField(default=120)
    scaled_at = models.DateTimeField(null=True, help_text="When the autoscaler last changed the number.")
    decided_at = models.DateTimeField(null=True)
    decision = models.TextField(blank=True, default="", help_text="The newest decision in words.")

    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("name",), condition=models.Q(removed_at=None), name="group_name_once"),
            models.CheckConstraint(condition=models.Q(min_replicas__lte=models.F("max_replicas")), name="group_scale_bounds"),
        )

    def __str__(self) -> str:
        return self.name
