"""The doctor's checks of workers, engines and queues: whether they run, keep up, and have the right settings; and those of
one application (diagnosis/)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import celery
from django.utils import timezone

from tasks_app.catalog import catalogues_of
from tasks_app.control.workers import configurations
from tasks_app.diagnosis.findings import Severity
from tasks_app.diagnosis.gather import diagnosis_of
from tasks_app.diagnosis.rules import RULES
from tasks_app.dispatch.backlog import backlog
from tasks_app.dispatch.create import MAX_TIME_LIMIT
from tasks_app.models import Application, LoadSample
from tasks_app.models.application import NATIVE_ID, Kind
from tasks_app.queries import queues
from tasks_app.watching import observer_state
from tasks_app.watching.observer_state import ObserverState
from zenith_site.common.application import celery_app
from zenith_site.doctor.registry import POSTGRESQL, REDIS, Finding, Level, Result, check, checks_applications, error, warning
from zenith_worker.wire import heartbeat, keys, questions, stream
from zenith_worker.wire.queue_names import why_reserved

#: The value that each Celery setting must have, and what happens otherwise.
REQUIRED_SETTINGS: Final[dict[str, tuple[Any, str]]] = {
    "task_acks_late": (True, "if a worker dies, its tasks are lost"),
    "task_reject_on_worker_lost": (True, "if a task's process dies, the task is lost"),
    "worker_prefetch_multiplier": (1, "tasks wait at busy workers while other workers are idle"),
    "task_track_started": (True, "running tasks are not shown"),
    "result_backend": ("zenith_worker.lasting_backend:LastingBackend", "outcomes are not reported"),
    "broker_transport": ("zenith_worker.wire.transport:Transport", "tasks that a dead worker held come back only after hours"),
    "task_serializer": ("json", "other programs cannot read the messages"),
}
#: Seconds of lag, or of age in the relay's backlog, that are a warning, and an error.
LATE: Final = 10.0
VERY_LATE: Final = 60.0
#: Seconds without a sample after which nobody seems to take any.
NO_SAMPLES: Final = 90.0
START_ENGINE: Final = "manage.py run_engine"


@check("Celery's settings")
def own_settings() -> Iterator[Finding]:
    """Check that this process has the Celery settings that Zenith's guarantees need."""
    yield from settings_problems("This process", {name: celery_app().conf[name] for name in REQUIRED_SETTINGS})
    yield from timeout_problems("This process", celery_app().conf)


@check("workers", REDIS)
def workers() -> Iterator[Finding]:
    """Check that a worker is online and that all run the same release of Celery."""
    beats = heartbeat.read_all()
    online = [beat for beat in beats if beat.online]
    if not online:
        yield warning("No worker is online", "celery -A zenith_site worker --queues default")
    for bad in heartbeat.unreadable():
        yield warning(
            f"The heartbeat of worker {bad.name} cannot be read and is ignored: {bad.reason}",
            "find out what else writes to Zenith's Redis; a Zenith worker replaces its heartbeat within seconds",
        )
    for beat in beats:
        if not beat.online:
            yield warning(
                f"Worker {beat.name} has sent no heartbeat for {beat.heartbeat_age:.0f} s; its tasks go back to their queues",
                "check its log, and start it again",
            )
        elif beat.version != celery.__version__:
            yield warning(
                f"Worker {beat.name} runs Celery {beat.version}; this process runs {celery.__version__}",
                "run pip install -r requirements.txt there, and restart the worker",
            )


@check("the workers' settings", REDIS)
def worker_settings() -> Iterator[Finding]:
    """Check each worker's Celery settings, asked for over Celery's remote control."""
    online = [beat.name for beat in heartbeat.read_all() if beat.online]
    configuration_of = configurations(online)
    for name in online:
        if name not in configuration_of:
            yield warning(f"Worker {name} did not answer", "if its pool is solo, it may just be busy; otherwise restart it")
            continue
        yield from settings_problems(f"Worker {name}", configuration_of[name])
        yield from timeout_problems(f"Worker {name}", configuration_of[name])


@check("the tasks that workers have", POSTGRESQL)
def told_tasks() -> Iterator[Finding]:
    """Check the time limits that workers told of their tasks, which this process need not have imported."""
    told = catalogues_of(NATIVE_ID).entries.values()
    limits = [entry.options.time_limit for entry in told if entry.options.time_limit]
    if limits and max(limits) >= _visibility_timeout(celery_app().conf):
        yield _redelivery("This process", celery_app().conf, max(limits))


@check("recorders", REDIS)
def recorders() -> Iterator[Finding]:
    """Check that a recorder reads the stream and is not behind."""
    if not stream.has_recorder(stream.ANYWHERE):
        yield error("No recorder is running: what workers do is not recorded", START_ENGINE)
    lag = stream.lag()
    if lag > LATE:
        finding = error if lag > VERY_LATE else warning
        yield finding(f"The recorders are {lag:.0f} s behind", f"start another: {START_ENGINE} --only recorder")
    if unreadable := stream.unreadable_count():
        yield warning(
            f"{unreadable:,} reports could not be recorded and were set aside",
            f"redis-cli XREVRANGE {keys.UNREADABLE} + - COUNT 5 shows why; to discard them, DEL {keys.UNREADABLE}",
        )


@check("answers to workers", REDIS)
def answers() -> Iterator[Finding]:
    """Check that an engine tells workers, which have no database, what only PostgreSQL knows."""
    if not questions.does_an_engine_answer():
        yield error(
            "No engine answers the workers: a message that may be a copy waits until one does",
            f"{START_ENGINE}; if one runs with --only, add --only answers",
        )


@check("the relay", POSTGRESQL)
def relay() -> Iterator[Finding]:
    """Check that due tasks are sent."""
    due = backlog()
    if due.oldest_seconds > LATE:
        finding = error if due.oldest_seconds > VERY_LATE else warning
        yield finding(
            f"{due.count:,} tasks are due but not on the broker, the oldest for {due.oldest_seconds:.0f} s",
            f"{START_ENGINE} --only relay; if one is running, its log shows what it waits for",
        )


@check("load and queue samples", POSTGRESQL)
def samples() -> Iterator[Finding]:
    """Check that load and queue depth are sampled; without samples charts stay empty."""
    newest = LoadSample.objects.order_by("-minute").values_list("sampled_at", flat=True).first()
    if newest is None or (timezone.now() - newest).total_seconds() > NO_SAMPLES:
        yield warning("Load and queues are not sampled", f"{START_ENGINE}; if it runs with --only, add --only samples")


@check("queues", POSTGRESQL, REDIS)
def consumers() -> Iterator[Finding]:
    """Check that every queue with messages has a worker and can be read."""
    for queue in queues.queues():
        if queue.now.unreadable:
            yield warning(
                f"Queue {queue.name!r} cannot be read, so nothing is sent to it: its key in Redis is not a list",
                why_reserved(queue.name) or f"redis-cli TYPE {queue.name!r}; remove that key, or rename it or the queue",
            )
        if queue.now.depth and not queue.consumers and not queue.pause:
            yield warning(
                f"{queue.now.depth:,} messages wait in queue {queue.name}, but no worker consumes it",
                f"celery -A zenith_site worker --queues {queue.name}",
            )


@check("watched applications", POSTGRESQL, REDIS)
def watched_applications() -> Iterator[Finding]:
    """Check that an observer listens to each watched application, loses nothing, and can ask its workers."""
    for row in Application.objects.filter(kind=Kind.WATCHED).exclude(broker="").order_by("name"):
        state = observer_state.read(row.name)
        if state is None:
            yield error(
                f"No observer listens to {row.name}: what its tasks do is not recorded",
                f"{START_ENGINE}; if one runs with --only, add --only observer",
            )
        elif not state.listens:
            yield warning(f"{row.name} is not heard: {state.reason}", f"manage.py watch {row.name} --test tries its broker")
        else:
            yield from _heard_badly(row.name, state)


def _heard_badly(name: str, state: ObserverState) -> Iterator[Finding]:
    if state.reason:
        yield warning(f"{name} is heard, but {state.reason}", "its user's rights: docs/watch.md says which are needed")
    if state.lost:
        yield warning(
            f"{state.lost:,} events of {name} were dropped, since Zenith could not keep up or its Redis was away",
            f"start another recorder: {START_ENGINE} --only recorder",
        )
    if state.delay > LATE:
        yield warning(
            f"The events of {name} arrive {state.delay:.0f} s late: it sends more than its observer can read, or clocks differ",
            "manage.py doctor --application says whose clock is wrong; otherwise give the engine more CPU",
        )


_LEVELS: Final = {Severity.ERROR: Level.ERROR, Severity.WARNING: Level.WARNING, Severity.NOTICE: Level.NOTICE}


@checks_applications
def application(name: str) -> list[Result] | None:
    """Return the diagnosis of an application, the findings first: a result for each rule that found something."""
    row = Application.named(name)
    if row is None:
        return None
    found = diagnosis_of(row)
    titles = {finding.rule: finding.title for finding in reversed(found.findings)}
    results = [
        Result(
            titles[rule], tuple(
                Finding(_LEVELS[finding.severity], f"{finding.sentence} ({finding.proof})", finding.mend)
                for finding in found.findings if finding.rule == rule
            ),
        )
        for rule in dict.fromkeys(finding.rule for finding in found.findings)
    ]  # fmt: skip
    results += [Result(rule.checks, ()) for rule in RULES if rule in found.passed]
    return results + [Result(rule.checks, (), skipped="not known") for rule in RULES if rule in found.unknown]


def settings_problems(whose: str, conf: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield each of REQUIRED_SETTINGS that has another value in `conf`; those that are missing are not judged."""
    for name, (required, otherwise) in REQUIRED_SETTINGS.items():
        if name in conf and conf[name] != required:
            yield error(
                f"{whose} runs with {name} = {conf[name]!r}: {otherwise}",
                f"remove CELERY_{name.upper()} from your settings, or set it to {required!r}, and restart",
            )


def timeout_problems(whose: str, conf: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the time limits: a message must not be redelivered while its task may still run."""
    limits = [conf.get("task_time_limit"), *(getattr(task, "time_limit", None) for task in celery_app().tasks.values())]
    longest = max([float(MAX_TIME_LIMIT), *(float(limit) for limit in limits if limit)])
    if not conf.get("task_time_limit"):
        yield warning(
            f"{whose} sets no time limit for tasks: a task that hangs keeps its slot forever", "set CELERY_TASK_TIME_LIMIT"
        )
    if _visibility_timeout(conf) <= longest:
        yield _redelivery(whose, conf, longest)


def _visibility_timeout(conf: Mapping[str, Any]) -> float:
    """Return the seconds after which the broker redelivers a message that nobody has acknowledged."""
    return float((conf.get("broker_transport_options") or {}).get("visibility_timeout", 3600))


def _redelivery(whose: str, conf: Mapping[str, Any], longest: float) -> Finding:
    return error(
        f"{whose} redelivers a message after {_visibility_timeout(conf):,.0f} s: tasks of up to {longest:,.0f} s may run twice",
        f"set CELERY_BROKER_TRANSPORT_OPTIONS = {{'visibility_timeout': {int(2 * longest)}}} for every process, and restart",
    )
