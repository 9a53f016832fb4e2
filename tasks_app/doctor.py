"""Workers, engines and queues: whether somebody does what has to be done, and with the right settings."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import celery
from django.utils import timezone

from tasks_app.control.workers import configurations
from tasks_app.dispatch.backlog import backlog
from tasks_app.dispatch.create import MAX_TIME_LIMIT
from tasks_app.models import LoadSample
from tasks_app.queries import queues
from zenith_site.common.application import celery_app
from zenith_site.doctor.registry import POSTGRESQL, REDIS, Finding, check, error, warning
from zenith_worker.wire import heartbeat, keys, stream
from zenith_worker.wire.queue_names import why_reserved

#: What a setting of Celery must be, and what happens otherwise.
WANTED: Final[dict[str, tuple[Any, str]]] = {
    "task_acks_late": (True, "a worker that dies takes its tasks with it"),
    "task_reject_on_worker_lost": (True, "a task whose process dies is lost"),
    "worker_prefetch_multiplier": (1, "tasks wait at busy workers while others are idle"),
    "task_track_started": (True, "nobody sees what runs"),
    "result_backend": ("tasks_app.worker_bridge.backend:LastingBackend", "outcomes are not reported"),
    "broker_transport": ("zenith_worker.wire.transport:Transport", "what a dead worker held comes back after hours only"),
    "task_serializer": ("json", "messages cannot be read by others"),
}
#: Seconds of lag, and of age in the relay's backlog, from which there is a warning, and an error.
LATE: Final = 10.0
VERY_LATE: Final = 60.0
#: Seconds without a look at the load after which nobody seems to look.
NO_SAMPLES: Final = 90.0
START_ENGINE: Final = "manage.py run_engine"


@check("Celery's settings")
def own_settings() -> Iterator[Finding]:
    """What this process would run with is what the guarantees need."""
    yield from settings_problems("This process", {name: celery_app().conf[name] for name in WANTED})
    yield from timeout_problems("This process", celery_app().conf)


@check("workers", REDIS)
def workers() -> Iterator[Finding]:
    """At least one worker is online, and all run the same release of Celery."""
    beats = heartbeat.read_all()
    online = [beat for beat in beats if beat.online]
    if not online:
        yield warning("No worker is online", "celery -A zenith_site worker --queues default")
    for bad in heartbeat.unreadable():
        yield warning(
            f"The heartbeat of worker {bad.name} cannot be read, and is passed over: {bad.reason}",
            "find out who writes to Zenith's Redis; a worker of Zenith's replaces it within seconds",
        )
    for beat in beats:
        if not beat.online:
            yield warning(
                f"Worker {beat.name} has not been heard of for {beat.heartbeat_age:.0f} s; its tasks are given to others",
                "look at its log, and start it again",
            )
        elif beat.version != celery.__version__:
            yield warning(
                f"Worker {beat.name} runs Celery {beat.version}, and this is {celery.__version__}",
                "pip install -r requirements.txt there, and restart it",
            )


@check("the workers' settings", REDIS)
def worker_settings() -> Iterator[Finding]:
    """Each worker runs with what the guarantees need; asked over Celery's remote control."""
    online = [beat.name for beat in heartbeat.read_all() if beat.online]
    found = configurations(online)
    for name in online:
        if name not in found:
            yield warning(f"Worker {name} did not answer", "where its pool is solo it is only busy; else restart it")
            continue
        yield from settings_problems(f"Worker {name}", found[name])
        yield from timeout_problems(f"Worker {name}", found[name])


@check("recorders", REDIS)
def recorders() -> Iterator[Finding]:
    """Somebody reads the stream, and is not behind."""
    if not stream.has_recorder(stream.ANYWHERE):
        yield error("No recorder runs: nothing that workers do is recorded", START_ENGINE)
    lag = stream.lag()
    if lag > LATE:
        finding = error if lag > VERY_LATE else warning
        yield finding(f"The recorders are {lag:.0f} s behind", f"one more of them: {START_ENGINE} --only recorder")
    if unreadable := stream.unreadable_count():
        yield warning(
            f"{unreadable:,} reports could not be recorded and were set aside",
            f"redis-cli XREVRANGE {keys.UNREADABLE} + - COUNT 5 says why; once they are of no use, DEL {keys.UNREADABLE}",
        )


@check("the relay", POSTGRESQL)
def relay() -> Iterator[Finding]:
    """What is due is sent."""
    due = backlog()
    if due.oldest_seconds > LATE:
        finding = error if due.oldest_seconds > VERY_LATE else warning
        yield finding(
            f"{due.count:,} tasks are due and not on the broker, the first for {due.oldest_seconds:.0f} s",
            f"{START_ENGINE} --only relay; where one runs its log says what it waits for",
        )


@check("the engine's looks", POSTGRESQL)
def samples() -> Iterator[Finding]:
    """Load and depth are sampled, without which charts stay empty."""
    newest = LoadSample.objects.order_by("-minute").values_list("sampled_at", flat=True).first()
    if newest is None or (timezone.now() - newest).total_seconds() > NO_SAMPLES:
        yield warning("Nobody samples load and queues", f"{START_ENGINE} (its part is called samples)")


@check("queues", POSTGRESQL, REDIS)
def consumers() -> Iterator[Finding]:
    """Whatever waits has somebody who takes it, and every queue can be read."""
    for queue in queues.queues():
        if queue.now.unreadable:
            yield warning(
                f"Queue {queue.name!r} cannot be read, and nothing is sent to it: Redis holds no list under its name",
                why_reserved(queue.name)
                or f"redis-cli TYPE {queue.name!r}; remove that key, or give one of the two another name",
            )
        if queue.now.depth and not queue.consumers and not queue.pause:
            yield warning(
                f"{queue.now.depth:,} messages wait in queue {queue.name}, and no worker takes from it",
                f"celery -A zenith_site worker --queues {queue.name}",
            )


def settings_problems(whose: str, found: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield which of WANTED somebody does not run with; what is not told is not judged."""
    for name, (wanted, otherwise) in WANTED.items():
        if name in found and found[name] != wanted:
            yield error(
                f"{whose} runs with {name} = {found[name]!r}: {otherwise}",
                f"take CELERY_{name.upper()} out of your settings, or set it to {wanted!r}, and restart",
            )


def timeout_problems(whose: str, found: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the time limits: a message must not count as forgotten while its task may run."""
    limits = [found.get("task_time_limit"), *(getattr(task, "time_limit", None) for task in celery_app().tasks.values())]
    longest = max([float(MAX_TIME_LIMIT), *(float(limit) for limit in limits if limit)])
    visibility = (found.get("broker_transport_options") or {}).get("visibility_timeout", 3600)
    if not found.get("task_time_limit"):
        yield warning(f"{whose} gives tasks no time limit: one that hangs keeps its slot for ever", "set CELERY_TASK_TIME_LIMIT")
    if visibility <= longest:
        yield error(
            f"{whose} takes a message for forgotten after {visibility:,.0f} s; tasks of up to {longest:,.0f} s may run twice",
            f"CELERY_BROKER_TRANSPORT_OPTIONS = {{'visibility_timeout': {int(2 * longest)}}} for every process, and restart",
        )
