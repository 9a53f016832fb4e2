"""`manage.py run_agent` rejects invalid options, and creates the host's row when it starts."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from infra_app.agent.event_listener import EventListener
from infra_app.agent.inventory_reporter import InventoryReporter
from infra_app.agent.leadership import Agent
from infra_app.agent.lease import Lease
from infra_app.agent.log_follower import LogFollowers
from infra_app.agent.loop import ReconcileLoop
from infra_app.agent.probe import Probe
from infra_app.agent.stats import StatsReporter
from infra_app.agent.swarm_services import SwarmServices
from infra_app.gateway import Connection, Engine
from infra_app.models import Host
from tests.conftest import REPOSITORY
from tests.waiting import eventually
from zenith_site.common import faults
from zenith_worker.wire import keys, stream

pytestmark = pytest.mark.processes

#: The parts of an agent, each in its own thread.
PARTS: tuple[type, ...] = (StatsReporter, EventListener, LogFollowers, ReconcileLoop, Probe, SwarmServices, InventoryReporter)


class UnforeseenError(Exception):
    """An error that Zenith's code does not expect."""


@pytest.mark.parametrize(
    ("option", "value", "accepted"),
    [
        ("--host", "a b", "it takes 1 to 63 letters"),
        ("--engine", "http://x", "it takes unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST"),
        ("--label", "disk", "it takes NAME=VALUE"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_accepted(option: str, value: str, accepted: str) -> None:
    with pytest.raises(CommandError, match=f"{value!r} is not accepted: {accepted}"):
        call_command("run_agent", option, value)


def test_certificates_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    with pytest.raises(CommandError, match=r"has no cert\.pem, key\.pem"):
        call_command("run_agent", "--tls", str(tmp_path))


def test_help_explains_every_option() -> None:
    said = subprocess.run(
        (sys.executable, "manage.py", "run_agent", "--help"), cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for option in ("--host", "--engine", "--tls", "--region", "--label"):
        assert option in said


@pytest.mark.django_db(transaction=True)
def test_without_an_engine_the_host_says_why_and_the_agent_goes_on() -> None:
    stop = threading.Event()
    agent = Agent("alpha", Engine(Connection("unix:///nowhere.sock")), {"address": "unix:///nowhere.sock", "region": "here"})
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    try:
        host = eventually(lambda: Host.objects.filter(name="alpha", agent_id__isnull=False).first())
        eventually(lambda: host.refresh_from_db() or host.engine_error)
        assert host.engine_error == "The Docker Engine at unix:///nowhere.sock does not answer: No such file or directory"
        assert (host.agent_online, host.online, host.region) == (True, False, "here")
        assert Lease("alpha", {"address": ""}).take() is None
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    host.refresh_from_db()
    assert (host.agent_online, host.agent_id) == (False, None)


@pytest.mark.django_db(transaction=True)
def test_each_part_of_an_agent_begins_anew_while_all_others_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    began: Counter[str] = Counter()

    def fails_twice(stop: threading.Event) -> None:
        part = threading.current_thread().name
        began[part] += 1
        if began[part] <= 2:
            raise UnforeseenError
        stop.wait()

    def fails(_: Probe) -> None:
        raise UnforeseenError

    for part in PARTS:
        monkeypatch.setattr(part, "run", lambda _, stop: fails_twice(stop))
    # Leadership begins with it.
    monkeypatch.setattr(Probe, "look", fails)
    stream.client().delete(keys.FAULT_COUNTS, keys.FAULTS)
    stop, engine = threading.Event(), Engine(Connection("unix:///nowhere.sock"))
    agent = threading.Thread(target=Agent("alpha", engine, {"address": "unix:///nowhere.sock"}).run, args=(stop,))
    agent.start()
    try:
        eventually(lambda: sorted(began.values()) == [3] * len(PARTS), but=faults.counts)
    finally:
        stop.set()
        agent.join(20)
    assert not agent.is_alive()
    assert faults.counts() == {f"agent {part}": 3 if part == "probe" else 2 for part in began}


@pytest.mark.django_db(transaction=True)
def test_a_lease_that_is_free_is_taken_and_renewed() -> None:
    lease = Lease("beta", {"address": "unix:///one", "labels": {"disk": "ssd"}})
    host = lease.take()
    assert host is not None
    assert (host.address, host.labels, host.online) == ("unix:///one", {"disk": "ssd"}, True)
    lease.renew(host.pk, engine_error="gone")
    host.refresh_from_db()
    assert not host.online
    lease.release(host.pk)
