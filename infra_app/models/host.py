"""Docker hosts, each with its agent, and the latest snapshots of their inventory."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import models
from django.utils import timezone

from infra_app.states import HOST_LOST_AFTER


class _Known(models.Manager["Host"]):
    """The hosts that are not forgotten."""

    def get_queryset(self) -> models.QuerySet["Host"]:
        return super().get_queryset().filter(forgotten_at=None)


class Host(models.Model):
    """A Docker host: its engine and the agent that controls it.

    The agent creates the row at its first start and renews `seen_at` every few seconds. People only write `cordoned`, `region`,
    `labels` and `forgotten_at`; the agent clears `forgotten_at` if it comes back.
    """

    id = models.BigAutoField(primary_key=True)
    #: Labels what its agent creates on the engine, so that several Zeniths can share an engine without touching each other's.
    key = models.UUIDField(unique=True, default=uuid4, editable=False)
    name = models.CharField(max_length=63, unique=True)
    address = models.CharField(max_length=255, help_text="Of the engine, as the agent reaches it.")
    region = models.CharField(max_length=63, blank=True, default="")
    labels = models.JSONField(default=dict)
    cordoned = models.BooleanField(default=False, help_text="Takes no new nodes.")

    agent_id = models.UUIDField(null=True, help_text="Of the run of the agent that holds this host.")
    agent_version = models.CharField(max_length=50, blank=True, default="")
    seen_at = models.DateTimeField(null=True, help_text="The agent's newest sign of life, by PostgreSQL's clock.")
    engine_error = models.TextField(
        blank=True, default="", help_text="Why the agent cannot reach its engine; empty while it can."
    )

    engine_version = models.CharField(max_length=50, blank=True, default="")
    operating_system = models.CharField(max_length=255, blank=True, default="")
    architecture = models.CharField(max_length=50, blank=True, default="")
    cpus = models.FloatField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    cpu_percent = models.FloatField(null=True, help_text="Of all its CPUs together, by all its containers.")
    memory_used_bytes = models.BigIntegerField(null=True, help_text="By all its containers.")
    swarm_id = models.CharField(max_length=100, blank=True, default="", help_text="Of the swarm that it belongs to.")
    swarm_node_id = models.CharField(max_length=100, blank=True, default="", help_text="Its own, within that swarm.")
    swarm_manager = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    forgotten_at = models.DateTimeField(null=True, help_text="Since when it is counted as gone for good.")

    # The first manager is the default, which Django's shortcuts use. Relations use the plain one: a node keeps a forgotten host.
    objects = _Known()
    every = models.Manager["Host"]()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def agent_online(self) -> bool:
        """Whether its agent sent a heartbeat recently."""
        return self.seen_at is not None and timezone.now() - self.seen_at < timedelta(seconds=HOST_LOST_AFTER)

    @property
    def online(self) -> bool:
        """Whether its agent is online and reaches its engine."""
        return self.agent_online and not self.engine_error


class HostSnapshot(models.Model):
    """The latest inventory of a host's engine; each report replaces it."""

    host = models.OneToOneField(Host, on_delete=models.CASCADE, primary_key=True, related_name="snapshot")
    taken_at = models.DateTimeField()
    #: Lists of objects as infra_app/types.py describes them.
    containers: Any = models.JSONField(default=list)
    images: Any = models.JSONField(default=list)
    volumes: Any = models.JSONField(default=list)
    networks: Any = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"{self.host_id} {self.taken_at:%Y-%m-%d %H:%M:%S}"
