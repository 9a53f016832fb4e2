"""Autoscale node groups to their queue: an engine loop, and the limits that people set for it.

Any number of engines may run it. A group's row is locked during a decision, and a group that was decided within the last
`DECIDE_EVERY` seconds is skipped, so only one engine decides on a group at a time.
"""

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from infra_app import autoscale, nodes, work
from infra_app.autoscale import Observation, Rules
from infra_app.models import NodeGroup
from infra_app.models.group import GroupKind
from infra_app.states import Desired, NodeStatus
from infra_app.validation import MAX_REPLICAS, why_unusable
from infra_app.work import WorkerHeartbeat
from zenith_site.common.errors import InvalidInputError, Problem
from zenith_site.common.faults import isolate_faults
from zenith_site.common.live_updates import refresh_pages
from zenith_site.common.loops import repeat

#: Seconds between two decisions on a group.
DECIDE_EVERY: Final = 5.0
MAX_SECONDS: Final = 86_400
ACTOR: Final = "the autoscaler"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscaleLimits:
    """The limits that someone sets for a group; NodeGroup explains the members."""

    autoscale: bool = True
    dry_run: bool = False
    scale_queue: str = ""
    min_replicas: int = 1
    max_replicas: int = 1
    target_seconds: int = 60
    cooldown_seconds: int = 120


def configure(group_id: UUID, limits: AutoscaleLimits) -> NodeGroup:
    """Set a group's limits. Without a queue, it follows the first of its own queues.

    Raises UnknownGroupError or InvalidInputError.
    """
    _check(limits)
    with transaction.atomic():
        group = nodes.locked_group(group_id)
        for name in limits.__dataclass_fields__:
            setattr(group, name, getattr(limits, name))
        group.scale_queue = limits.scale_queue or group.queues[0]
        group.decision, group.decided_at = "", None
        group.save(update_fields=[*limits.__dataclass_fields__, "decision", "decided_at"])
        transaction.on_commit(lambda: refresh_pages("nodes"))
    return group


def run(stop: threading.Event) -> None:
    """Run the autoscaler until `stop` is set."""
    repeat(stop, "autoscaler", decide_due_groups, every=1.0)


def decide_due_groups() -> None:
    """Decide on every group that is due. Raises redis.RedisError."""
    due = Q(decided_at=None) | Q(decided_at__lt=timezone.now() - timedelta(seconds=DECIDE_EVERY))
    due_groups = NodeGroup.objects.filter(due, autoscale=True, removed_at=None)
    ids = list(due_groups.order_by("decided_at").values_list("id", flat=True))
    heartbeats = work.worker_heartbeats() if ids else {}
    for group_id in ids:
        with isolate_faults("autoscaler", f"group {group_id}"), transaction.atomic():
            group = due_groups.select_for_update(skip_locked=True).filter(pk=group_id).first()
            if group is not None:
                _decide(group, heartbeats)


def _decide(group: NodeGroup, heartbeats: dict[str, WorkerHeartbeat]) -> None:
    observation = observe(group, heartbeats)
    decision = autoscale.decide(rules_of(group), observation)
    before, group.decided_at = group.decision, timezone.now()
    group.decision = decision.reason
    changes = decision.replicas != observation.replicas and not group.dry_run
    if changes:
        group.scaled_at = group.decided_at
    group.save(update_fields=["decided_at", "decision", "scaled_at"])
    if changes:
        nodes.scale(group.id, decision.replicas, f"{ACTOR} ({decision.reason.rstrip('.')})")
    elif group.decision != before:
        transaction.on_commit(lambda: refresh_pages("nodes"))


def rules_of(group: NodeGroup) -> Rules:
    """Return a group's limits as input of the decision."""
    return Rules(
        minimum=group.min_replicas, maximum=group.max_replicas, target=group.target_seconds, cooldown=group.cooldown_seconds,
        slots=group.concurrency,
    )  # fmt: skip


def observe(group: NodeGroup, heartbeats: dict[str, WorkerHeartbeat]) -> Observation:
    """Return the observed state of a group and its queue. Raises redis.RedisError."""
    pressure = work.pressure(group.scale_queue)
    ready_nodes = list(group.nodes.filter(status=NodeStatus.READY, desired=Desired.RUNNING).only("id", "name"))
    desired_replicas = group.replicas
    if group.kind == GroupKind.CONTAINERS:
        desired_replicas = group.nodes.filter(desired=Desired.RUNNING).count()
    consuming = [heartbeats[name].slots for name in pressure.consumers if name in heartbeats]
    return Observation(
        replicas=desired_replicas, ready=len(ready_nodes),
        busy=sum(heartbeats[node.worker].busy for node in ready_nodes if node.worker in heartbeats),
        waiting=pressure.waiting, oldest=pressure.oldest_seconds, rate=pressure.rate_out, rate_in=pressure.rate_in,
        consuming=sum(consuming), paused=pressure.paused,
        since_change=(timezone.now() - group.scaled_at).total_seconds() if group.scaled_at else None,
    )  # fmt: skip


def _check(limits: AutoscaleLimits) -> None:
    problems = []
    if limits.scale_queue and (reason := why_unusable(limits.scale_queue)):
        problems.append(Problem("/scale_queue", reason))
    for name, least, most in (
        ("min_replicas", 0, MAX_REPLICAS),
        ("max_replicas", 1, MAX_REPLICAS),
        ("target_seconds", 1, MAX_SECONDS),
        ("cooldown_seconds", 0, MAX_SECONDS),
    ):
        if not least <= getattr(limits, name) <= most:
            problems.append(Problem(f"/{name}", f"must be between {least:,} and {most:,}"))
    if not problems and limits.min_replicas > limits.max_replicas:
        problems.append(Problem("/max_replicas", "must not be less than min_replicas"))
    if problems:
        raise InvalidInputError(*problems)
