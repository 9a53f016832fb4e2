"""The one registry of rules: what is looked at for each kind of notification, how much it matters, and when it counts.

A further rule is a kind in kinds.py, a decision in decisions.py, and a `Rule` here that reads what it decides about.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Count, Max
from django.urls import reverse
from django.utils import timezone

from infra_app.models import Host, Node
from infra_app.states import NodeStatus
from tasks_app.models import DeadLetter, QueuePause, QueueSample
from tasks_app.models.dead_letter import LetterState
from zenith_site.common.masking import mask_text
from zenith_site.common.words import duration
from zenith_site.notify import decisions
from zenith_site.notify.decisions import Failures, HostSeen, Look
from zenith_site.notify.kinds import Kind, Severity
from zenith_worker.wire import clearing, stream
from zenith_worker.wire.heartbeat import read_all

#: Causes of failures that one look takes up; a storm of different errors is not hundreds of notifications at once.
MAX_CAUSES: Final = 50
#: How old the newest sample of a queue may be.
SAMPLED_WITHIN: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is looked at for one kind.

    Attributes:
        look: reads and decides; it is given the keys of the notifications of this kind that are open.
        lasting: seconds for which a condition has to hold at every look of one engine until it counts. Right after an outage
            of Redis every heartbeat is old and every report late, for a moment.
        settles: seconds for which a condition has to be away until it is over, so that one that comes and goes is one.
    """

    kind: Kind
    severity: Severity
    look: Callable[[frozenset[str]], Look]
    lasting: float = 10.0
    settles: float = 60.0


def _dead_letters(open_keys: frozenset[str]) -> Look:
    quiet = settings.ZENITH_NOTIFY_QUIET
    undecided = DeadLetter.objects.filter(state=LetterState.OPEN).order_by()
    rows: Any = (
        undecided.filter(created_at__gt=timezone.now() - timedelta(seconds=quiet))
        .values("fingerprint")
        .annotate(
            task_name=Max("task_name"), error_type=Max("error_type"), message=Max("message"),
            letters=Count("id"), newest_at=Max("created_at"),
        )
        .order_by("-newest_at")
    )  # fmt: skip
    recent = [Failures(**{**row, "message": mask_text(row["message"])}) for row in rows]
    # Those that are open are seen to their end, however many are newer.
    taken = [found for number, found in enumerate(recent) if number < MAX_CAUSES or found.fingerprint in open_keys]
    left = dict(undecided.filter(fingerprint__in=open_keys).values_list("fingerprint").annotate(Count("id")))
    return decisions.dead_letters(taken, left, open_keys, _page("tasks:dead_letter_group"), duration(quiet))


def _workers_gone(open_keys: frozenset[str]) -> Look:
    ages = {beat.name: beat.heartbeat_age for beat in read_all()}
    cleared = clearing.cleared_by(open_keys - ages.keys())
    return decisions.workers_gone(ages, cleared, open_keys, _tasks_of_worker, settings.ZENITH_NOTIFY_WORKER_GONE)


def _queues_behind(open_keys: frozenset[str]) -> Look:
    newest = (
        QueueSample.objects.filter(minute__gt=timezone.now() - SAMPLED_WITHIN)
        .order_by("queue", "-minute")
        .distinct("queue")
        .values_list("queue", "oldest_seconds")
    )
    paused = frozenset(QueuePause.objects.values_list("queue", flat=True))
    return decisions.queues_behind(dict(newest), paused, open_keys, _page("tasks:queue"), settings.ZENITH_NOTIFY_QUEUE_AGE)


def _stream_behind(open_keys: frozenset[str]) -> Look:
    return decisions.stream_behind(stream.lag(), reverse("tasks:events"), settings.ZENITH_NOTIFY_STREAM_LAG)


def _nodes_failed(open_keys: frozenset[str]) -> Look:
    failed = {
        str(id_): (name, reason)
        for id_, name, reason in Node.objects.filter(status=NodeStatus.FAILED).values_list("id", "name", "reason")
    }
    known = Node.objects.filter(id__in=open_keys).exclude(status=NodeStatus.REMOVED).values_list("id", "status")
    now = {str(id_): str(NodeStatus(status).label).lower() for id_, status in known}
    return decisions.nodes_failed(failed, now, open_keys, _page("infra:node"))


def _hosts_unreachable(open_keys: frozenset[str]) -> Look:
    now = timezone.now()
    hosts = [
        HostSeen(name, None if seen_at is None else (now - seen_at).total_seconds(), engine_error)
        for name, seen_at, engine_error in Host.objects.values_list("name", "seen_at", "engine_error")
    ]
    return decisions.hosts_unreachable(
        hosts, open_keys, lambda _: reverse("infra:nodes"), settings.ZENITH_NOTIFY_HOST_UNREACHABLE
    )


def _page(name: str) -> decisions.Link:
    return lambda key: reverse(name, args=[key])


def _tasks_of_worker(name: str) -> str:
    # The page of a worker that is gone is, too, after five minutes; what it ran stays.
    return reverse("tasks:list") + "?" + urlencode({"q": f'worker:"{name}"'})


RULES: Final = (
    Rule(Kind.DEAD_LETTER, Severity.WARNING, _dead_letters, lasting=0.0, settles=0.0),
    Rule(Kind.WORKER_GONE, Severity.WARNING, _workers_gone),
    Rule(Kind.QUEUE_AGE, Severity.WARNING, _queues_behind),
    Rule(Kind.STREAM_LAG, Severity.CRITICAL, _stream_behind),
    Rule(Kind.NODE_FAILED, Severity.CRITICAL, _nodes_failed, lasting=0.0),
    Rule(Kind.HOST_UNREACHABLE, Severity.CRITICAL, _hosts_unreachable),
)
