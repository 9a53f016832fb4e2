"""What the suite itself relies on, as far as it needs no server."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests import waiting
from tests.browser import deaf
from tests.processes import Forked, Process
from tests.scheduling import unit_of
from tests.servers import needs_no_server
from tests.times import processor_seconds
from tests.waiting import eventually

NETLINK = "import socket; socket.create_server(('127.0.0.1', 0)).close(); socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
def test_a_deaf_browser_gets_every_socket_but_those_that_tell_of_network_interfaces() -> None:
    plain = subprocess.run([sys.executable, "-c", NETLINK], capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    command = [sys.executable, deaf.__file__, sys.executable, "-c", NETLINK]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.stderr.splitlines()[-1].startswith(f"OSError: [Errno {errno.EAFNOSUPPORT}]"), refused.stderr


def test_a_wait_that_fails_says_what_for_and_what_it_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0)
    rows = ["one"]
    with pytest.raises(AssertionError) as caught:
        eventually(
            lambda: len(rows) == 2
            and rows[1] == "two",
            but=lambda: rows,
        )  # fmt: skip
    assert str(caught.value) == "waited 0 s for: len(rows) == 2 and rows[1] == \"two\"\nit was at last: False; instead: ['one']"
    with pytest.raises(AssertionError, match=r"for: rows_come\nit was at last: None$"):
        eventually(rows_come)


def rows_come() -> None:
    """Never."""


def test_a_wait_returns_what_came() -> None:
    answers = iter([0, "", "there"])
    assert eventually(lambda: next(answers)) == "there"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["tests/unit"], True),
        (["tests/unit/test_retry.py::test_x", "tests/unit"], True),
        (["tests/unit", "tests/integration"], False),
        (["tests"], False),
        ([], False),
    ],
)
def test_servers_are_started_unless_only_unit_tests_are_asked_for(paths: list[str], expected: bool) -> None:
    assert needs_no_server(paths) is expected


def test_files_of_a_browser_share_a_unit_and_others_are_their_own() -> None:
    assert unit_of("tests/browser/test_charts.py::test_a") == unit_of("tests/browser/test_flows.py::test_b")
    assert unit_of("tests/faults/test_workers.py::test_a") != unit_of("tests/faults/test_servers.py::test_a")


@pytest.mark.parametrize(("module", "status"), [("docker.version", 0), ("no_such_module", 1)])
def test_a_warm_process_finds_libraries_and_ends_with_its_own_status(tmp_path: Path, module: str, status: int) -> None:
    process = Process("warm", ["-m", module], tmp_path / "log", {})
    assert isinstance(process.popen, Forked)
    assert process.popen.wait(30) == status, process.output


def test_the_processor_time_of_a_process_counts_while_it_runs_and_when_it_has_ended() -> None:
    burning = "import sys, time; sum(range(5_000_000)); print(time.process_time(), flush=True); sys.stdin.read()"
    before = processor_seconds()
    with subprocess.Popen([sys.executable, "-c", burning], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        # The system counts in hundredths.
        taken = float(process.stdout.readline()) - 0.05
        assert processor_seconds() - before > taken
    assert processor_seconds() - before > taken
