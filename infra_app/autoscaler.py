"""Keeping groups as large as their queue needs: an endless loop of the engine, and the rules that people give it.

Any number of engines may run it. A group's row is locked while it is decided on, and one that was decided on within
`EVERY` seconds is passed over: so there is one decision at a time, whoever makes it.
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
from infra_app.validation import MAX_REPLICAS, QUEUE
from infra_app.work import Beat
from zenith_site.common.errors import InvalidInputError, Problem
from zenith_site.common.faults import isolate_faults
from zenith_site.common.live_updates import refresh_pages
from zenith_site.common.loops import repeat
from zenith_worker.wire.queue_names import why_reserved

#: Seconds between two decisions on a group.
EVERY: Final = 5.0
MAX_SECONDS: Final = 86_400
BY: Final = "the autoscaler"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscaleLimits:
    """The rules that somebody gives a group; NodeGroup explains the members."""

    autoscale: bool = True
    dry_run: bool = False
    scale_queue: str = ""
    min_replicas: int = 1
    max_replicas: int = 1
    target_seconds: int = 60
    cooldown_seconds: int = 120


def configure(group_id: UUID, wish: AutoscaleLimits) -> NodeGroup:
    """Give a group other rules; no queue means: the first of its own.

    Raises UnknownGroupError or InvalidInputError.
    """
    _check(wish)
    with transaction.atomic():
        group = nodes.locked_group(group_id)
        for name in wish.__dataclass_fields__:
            setattr(group, name, getattr(wish, name))
        group.scale_queue = wish.scale_queue or group.queues[0]
        group.decision, group.decided_at = "", None
        group.save(update_fields=[*wish.__dataclass_fields__, "decision", "decided_at"])
        transaction.on_commit(lambda: refresh_pages("nodes"))
    return group


def run(stop: threading.Event) -> None:
    """Decide until `stop` is set."""
    repeat(stop, "autoscaler", step, every=1.0)


def step() -> None:
    """Decide on every group whose turn it is. Raises redis.RedisError."""
    due = Q(decided_at=None) | Q(decided_at__lt=timezone.now() - timedelta(seconds=EVERY))
    turn = NodeGroup.objects.filter(due, autoscale=True, removed_at=None)
    ids = list(turn.order_by("decided_at").values_list("id", flat=True))
    beats = work.beats() if ids else {}
    for group_id in ids:
        with isolate_faults("autoscaler", f"group {group_id}"), transaction.atomic():
            group = turn.select_for_update(skip_locked=True).filter(pk=group_id).first()
            if group is not None:
                _decide(group, beats)


def _decide(group: NodeGroup, beats: dict[str, Beat]) -> None:
    seen = look(group, beats)
    decision = autoscale.decide(rules_of(group), seen)
    before, group.decided_at = group.decision, timezone.now()
    group.decision = decision.reason
    changes = decision.replicas != seen.replicas and not group.dry_run
    if changes:
        group.scaled_at = group.decided_at
    group.save(update_fields=["decided_at", "decision", "scaled_at"])
    if changes:
        nodes.scale(group.id, decision.replicas, f"{BY} ({decision.reason.rstrip('.')})")
    elif group.decision != before:
        transaction.on_commit(lambda: refresh_pages("nodes"))


def rules_of(group: NodeGroup) -> Rules:
    """Return a group's rules as the decision takes them."""
    return Rules(
        minimum=group.min_replicas, maximum=group.max_replicas, target=group.target_seconds, cooldown=group.cooldown_seconds,
        slots=group.concurrency,
    )  # fmt: skip


def look(group: NodeGroup, beats: dict[str, Beat]) -> Observation:
    """Return how a group and its queue stand. Raises redis.RedisError."""
    pressure = work.pressure(group.scale_queue)
    mine = list(group.nodes.filter(status=NodeStatus.READY, desired=Desired.RUNNING).only("id", "name"))
    wanted = group.replicas
    if group.kind == GroupKind.CONTAINERS:
        wanted = group.nodes.filter(desired=Desired.RUNNING).count()
    consuming = [beats[name].slots for name in pressure.consumers if name in beats]
    return Observation(
        replicas=wanted, ready=len(mine), busy=sum(beats[node.worker].busy for node in mine if node.worker in beats),
        waiting=pressure.waiting, oldest=pressure.oldest_seconds, rate=pressure.rate_out, rate_in=pressure.rate_in,
        consuming=sum(consuming), paused=pressure.paused,
        since_change=(timezone.now() - group.scaled_at).total_seconds() if group.scaled_at else None,
    )  # fmt: skip


def _check(wish: AutoscaleLimits) -> None:
    problems = []
    if wish.scale_queue and not QUEUE.fullmatch(wish.scale_queue):
        problems.append(Problem("/scale_queue", "must be 1 to 100 printable ASCII characters, neither comma nor space"))
    elif wish.scale_queue and (reason := why_reserved(wish.scale_queue)):
        problems.append(Problem("/scale_queue", reason))
    for name, least, most in (
        ("min_replicas", 0, MAX_REPLICAS),
        ("max_replicas", 1, MAX_REPLICAS),
        ("target_seconds", 1, MAX_SECONDS),
        ("cooldown_seconds", 0, MAX_SECONDS),
    ):
        if not least <= getattr(wish, name) <= most:
            problems.append(Problem(f"/{name}", f"must lie between {least:,} and {most:,}"))
    if not problems and wish.min_replicas > wish.max_replicas:
        problems.append(Problem("/max_replicas", "must not be smaller than min_replicas"))
    if problems:
        raise InvalidInputError(*problems)
