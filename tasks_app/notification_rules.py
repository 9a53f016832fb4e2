"""The notification rules of tasks, workers and queues, and what rules that people make may be about them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Count, Max
from django.urls import get_script_prefix
from django.utils import timezone

from tasks_app.models import DeadLetter, QueuePause, QueueSample
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.dead_letter import LetterState
from tasks_app.queries import rule_measures
from tasks_app.queries.application_names import names_by_id
from tasks_app.search.parser import quoted
from tasks_app.web.links import queue_url, tasks_with
from zenith_site.common.humanize import duration
from zenith_site.common.masking import mask_text
from zenith_site.common.site_paths import page_path
from zenith_site.notify import decisions
from zenith_site.notify.decisions import Evaluation, Failures
from zenith_site.notify.kinds import NotificationKind, Severity, Subject
from zenith_site.notify.measures import Measure, register_evaluate, register_measure
from zenith_site.notify.models import NotificationRule
from zenith_site.notify.rules import Rule, page, register
from zenith_worker.wire import clearing, stream
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.heartbeat import read_all, unreadable

#: The most causes that one pass reports: a storm of different errors must not send hundreds of notifications at once.
MAX_CAUSES: Final = 50
#: How old the newest sample of a queue may be.
SAMPLED_WITHIN: Final = timedelta(minutes=2)


def _dead_letters(open_keys: frozenset[str]) -> Evaluation:
    quiet = settings.ZENITH_NOTIFY_QUIET
    undecided = DeadLetter.objects.filter(state=LetterState.OPEN).order_by()
    rows: Any = (
        undecided.filter(created_at__gt=timezone.now() - timedelta(seconds=quiet))
        .values("fingerprint")
        .annotate(
            task_name=Max("task_name"), error_type=Max("error_type"), message=Max("message"),
            letters=Count("id"), newest_at=Max("created_at"), application=Max("application_id"),
        )
        .order_by("-newest_at")
    )  # fmt: skip
    names = {**names_by_id(row["application"] for row in rows), NATIVE_ID: ""}
    recent = [Failures(**{**row, "message": mask_text(row["message"]), "application": names[row["application"]]}) for row in rows]
    # Causes with an open notification are always reported, however many are newer.
    reported = [cause for number, cause in enumerate(recent) if number < MAX_CAUSES or cause.fingerprint in open_keys]
    remaining = dict(undecided.filter(fingerprint__in=open_keys).values_list("fingerprint").annotate(Count("id")))
    return decisions.dead_letters(reported, remaining, open_keys, page("tasks:dead_letter_group"), duration(quiet))


def _workers_lost(open_keys: frozenset[str]) -> Evaluation:
    ages = {beat.name: beat.heartbeat_age for beat in read_all()}
    cleared = clearing.cleared_by(open_keys - ages.keys())
    return decisions.workers_lost(ages, cleared, open_keys, _tasks_of_worker, settings.ZENITH_NOTIFY_WORKER_GONE)


def _queues_backing_up(open_keys: frozenset[str]) -> Evaluation:
    newest = (
        QueueSample.objects.filter(minute__gt=timezone.now() - SAMPLED_WITHIN, application=NATIVE_ID)
        .order_by("queue", "-minute")
        .distinct("queue")
        .values_list("queue", "oldest_seconds")
    )
    paused = frozenset(QueuePause.objects.values_list("queue", flat=True))
    links = page("tasks:queue"), page_path("tasks:queues")
    return decisions.queues_backing_up(dict(newest), paused, open_keys, *links, settings.ZENITH_NOTIFY_QUEUE_AGE)


def _recorder_behind(open_keys: frozenset[str]) -> Evaluation:
    return decisions.recorder_behind(stream.lag(), page_path("tasks:events"), settings.ZENITH_NOTIFY_STREAM_LAG)


def _set_aside(open_keys: frozenset[str]) -> Evaluation:
    reasons = {f"The heartbeat of worker {beat.name[:100]}": beat.reason for beat in unreadable()[:MAX_CAUSES]}
    newest = stream.newest_unreadable()
    if newest is not None and newest.age < settings.ZENITH_NOTIFY_QUIET:
        reasons["A report or message"] = f"{newest.reason} (of {stream.unreadable_count():,} so far)"
    return decisions.set_aside(reasons, open_keys, page_path("tasks:events"))


def _tasks_of_worker(name: str) -> str:
    # A lost worker's own page disappears after five minutes; the list of its tasks stays.
    return tasks_with("worker", name)


def _workers_gone(rule: NotificationRule, open_keys: frozenset[str]) -> Evaluation:
    """Decide about the workers that a rule is about; a key is an application's name and a worker's."""
    ages = rule_measures.worker_ages(rule, MAX_CAUSES)
    cleared = rule_measures.cleared_workers(open_keys - ages.keys())
    found = decisions.workers_lost(ages, cleared, open_keys, _tasks_of_named_worker, settings.ZENITH_NOTIFY_WORKER_GONE)
    return Evaluation(
        [replace(item, title=f"worker {rule_measures.worker_name(item.key)} is lost") for item in found.holding], found.over
    )


def _tasks_of_named_worker(key: str) -> str:
    application, _, name = key.partition(rule_measures.OF)
    return _here(tasks_with("worker", name, application))


def _failures_link(rule: NotificationRule) -> str:
    if rule.fingerprint:
        return page_path("tasks:dead_letter_group", rule.fingerprint)
    terms = {"name": rule.task, "queue": rule.queue, "error": rule.error_type.strip("*")}
    query = " ".join(["status:FAILURE", *(f"{key}:{_term(value)}" for key, value in terms.items() if value)])
    values = {"q": query, "application": rule.application}
    return f"{page_path('tasks:list')}?{urlencode({name: value for name, value in values.items() if value})}"


def _queue_link(rule: NotificationRule) -> str:
    if rule.queue and "*" not in rule.queue:
        return _here(queue_url(rule.queue, rule.application or NATIVE_NAME))
    return page_path("tasks:queues")


def _term(pattern: str) -> str:
    return pattern if "*" in pattern and not any(map(str.isspace, pattern)) else quoted(pattern)


def _here(url: str) -> str:
    """Return a URL as a path below the site's root."""
    return url.removeprefix(get_script_prefix().rstrip("/"))


register_measure(Subject.FAILURES, Measure(rule_measures.failures, _failures_link))
register_measure(Subject.FAILURE_SHARE, Measure(rule_measures.shares, _failures_link))
register_measure(Subject.QUEUE_DEPTH, Measure(rule_measures.depths, _queue_link))
register_evaluate(Subject.WORKER_GONE, _workers_gone)
register(
    Rule(NotificationKind.DEAD_LETTER, Severity.WARNING, _dead_letters, for_=0.0, keep_firing_for=0.0),
    Rule(NotificationKind.WORKER_GONE, Severity.WARNING, _workers_lost),
    Rule(NotificationKind.QUEUE_AGE, Severity.WARNING, _queues_backing_up),
    Rule(NotificationKind.STREAM_LAG, Severity.CRITICAL, _recorder_behind),
    Rule(NotificationKind.SET_ASIDE, Severity.WARNING, _set_aside, for_=0.0),
)
