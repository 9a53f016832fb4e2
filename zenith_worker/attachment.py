"""Joins a Celery app, whatever it is, to Zenith: its processes report what they send and run, and its workers carry out what is
asked for there. Nothing else changes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from billiard import current_process
from celery import Celery, signals

from zenith_worker import guards, reporting
from zenith_worker.attached_worker import attached_worker
from zenith_worker.buffer import Buffer
from zenith_worker.guarded_tasks import guard_tasks
from zenith_worker.guards import Guards
from zenith_worker.reporting_backend import with_reports
from zenith_worker.reporting_signals import SignalReports
from zenith_worker.reports import Reports
from zenith_worker.task_logs import DEFAULT, TaskLogs, parse_level
from zenith_worker.task_logs import VARIABLE as LOGS
from zenith_worker.wire import applications, client, instance, keys

#: The environment: the URL of Zenith's Redis, the application's name, and the guards that it asks for.
URL, NAME, GUARD = "ZENITH_URL", "ZENITH_APPLICATION", "ZENITH_GUARD"
#: Seconds that a command to Zenith's Redis may take. Only threads of our own wait for it.
TIMEOUT: Final = 5.0
_SCHEMES: Final = ("redis", "rediss")


class _Process:
    """What this process is attached as: one application in one process."""

    app: Celery | None = None
    name: str = ""
    guards: Guards = guards.NONE


def attach(app: Celery, url: str | None = None, name: str | None = None, guard: str | Iterable[str] = ()) -> str:
    """Join a Celery app to Zenith; return the application's name there. Calling it again for the same app does nothing.

    `url` is that of Zenith's Redis (default: ZENITH_URL). `name` has lower-case letters, digits, and hyphens between them
    (default: ZENITH_APPLICATION, else the app's main name). `guard` names the guards (guards.py; default: ZENITH_GUARD). This
    connects to nothing: processes that run tasks or send them report from a thread of their own, and without the guard
    `claims:closed` a Redis that does not answer keeps nobody waiting. Workers also send what tasks log, from the level in the
    environment's ZENITH_TASK_LOGS on (default: info; off: nothing).

    Raises ValueError for a URL, a name or a level that cannot be, for an unknown guard, and for a second app.
    """
    url = url or os.environ.get(URL, "")
    if urlsplit(url).scheme not in _SCHEMES or not urlsplit(url).hostname:
        raise ValueError(f"{URL} must be the URL of Zenith's Redis, redis://… or rediss://…")
    chosen = _guards(guard or os.environ.get(GUARD, ""))
    name = _name(app, name or os.environ.get(NAME, ""))
    level = parse_level(os.environ.get(LOGS, "") or DEFAULT)
    if _Process.app is app:
        return _Process.name
    if _Process.app is not None:
        raise ValueError(f"this process is already attached as {_Process.name}: one application for each process")
    _Process.app, _Process.name, _Process.guards = app, name, chosen
    keys.belong_to(name)
    client.configure(url, timeout=TIMEOUT)
    buffer = Buffer(name, app.main or "")
    reports = Reports(buffer, claimed=chosen.claims)
    SignalReports(reports).connect()
    app.steps["consumer"].add(attached_worker(name, buffer, chosen))
    _wrap_backends(app, reports)
    _guard(app, chosen)
    _in_workers(lambda **_: TaskLogs.keep(level))
    return name


def _guards(names: str | Iterable[str]) -> Guards:
    try:
        return guards.parse(names)
    except ValueError as error:
        raise ValueError(f"{GUARD}={names!r}: {error}") from None


def _name(app: Celery, name: str) -> str:
    if not name:
        # A script's main name is `__main__`.
        name = re.sub("[^a-z0-9]+", "-", (app.main or "").lower()).strip("-")[:50].strip("-") or "celery"
    if name == applications.NATIVE_NAME:
        raise ValueError(f"{NAME}={name!r} is the name of Zenith's own application; choose another")
    if not applications.is_name(name):
        raise ValueError(f"{NAME}={name!r}: a name has at most 50 lower-case letters, digits, and hyphens between them")
    return name


def _guard(app: Celery, chosen: Guards) -> None:
    """Guard the tasks of workers, also those that are registered until one starts; who only sends has none to guard."""
    if chosen.claims and not chosen.closed:
        reporting.never_wait()

    def guard_all(**_: Any) -> None:
        guard_tasks(app, chosen)

    def begin(**_: Any) -> None:
        instance.tell_children()

    signals.worker_init.connect(begin, weak=False)
    _in_workers(guard_all)


def _in_workers(act: Callable[..., None]) -> None:
    """Call this in workers and in their pools' processes, once each is about to start."""
    for signal in (signals.worker_init, signals.worker_process_init):
        signal.connect(act, weak=False)
    if current_process().name != "MainProcess":
        act()  # a spawned child whose signal has been sent


def _wrap_backends(app: Celery, reports: Reports) -> None:
    """Let every result backend that the app makes report; that of a single task is found when the task runs."""
    make: Any = app._get_backend
    app._get_backend = lambda: with_reports(make(), reports)
    if app._backend is not None:
        with_reports(app._backend, reports)
