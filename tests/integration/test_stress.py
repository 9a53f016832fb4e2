"""`stress_test.py` against a real server, worker and engine."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tasks_app.models import Batch, Task
from tests import stack as stacks
from tests.processes import REPOSITORY, free_port
from tests.stack import Stack

if TYPE_CHECKING:
    from django.contrib.auth.models import User

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = 8
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def module_site(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, int]]:
    for stack in stacks.running(tmp_path_factory.mktemp("stress"), ZENITH_RATE_LIMIT=f"{LIMIT}/60s"):
        port = free_port()
        stack.engine()
        stack.worker("stress@tests")
        stack.web(port)
        yield stack, port


@pytest.fixture
def port(module_site: tuple[Stack, int], transactional_db: None) -> Iterator[int]:
    stack, port = module_site
    for _ in stacks.settling(stack):
        yield port


@pytest.fixture
def token(admin: User) -> str:
    from zenith_site.auth.tokens import create_token

    return create_token(admin, "stress", ["read", "dispatch"])[1]


@pytest.fixture
def run(port: int, token: str) -> Run:
    """Runs the script against the server with a token in its environment, and no Django."""

    def run_(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "ZENITH_URL": f"http://127.0.0.1:{port}", "ZENITH_API_KEY": token, **environment}
        command = [sys.executable, "-I", str(REPOSITORY / "stress_test.py"), *options]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False, cwd="/")

    return run_


def numbers(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_it_counts_what_was_accepted_and_limited_and_waits_for_the_tasks(run: Run) -> None:
    done = run("-n", "12", "--concurrency", "4", "--wait", "--json")
    told = numbers(done)
    assert done.returncode == 0
    assert (told["triggers"], told["accepted"], told["limited"], told["errors"]) == (12, LIMIT, 12 - LIMIT, {})
    assert told["tasks"] == {"dispatched": LIMIT * 10, "by_status": {"SUCCESS": LIMIT * 10}, "completion_percent": 100.0}
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p95"] <= told["latency_ms"]["p99"]
    assert Batch.objects.count() == LIMIT
    assert Task.objects.filter(status="SUCCESS").count() == LIMIT * 10


def test_for_people_it_is_some_lines(run: Run) -> None:
    done = run("-n", "2", "--count", "1", "--wait")
    assert done.returncode == 0
    words = [line.split()[:2] for line in done.stdout.splitlines()]
    assert words == [["triggers", "2"], ["accepted", "2"], ["limited", "0"], ["errors", "0"], ["latency", "p50"],
                     ["tasks", "2"], ["2", "SUCCESS"], ["completion", "100"]]  # fmt: skip


def test_a_task_that_fails_is_told_in_the_exit_status(run: Run) -> None:
    done = run("-n", "1", "--task", "drill_fail", "--kwargs", '{"times": -1}', "--count", "2", "--wait", "--json")
    told = numbers(done)
    assert told["tasks"]["by_status"] == {"FAILURE": 2}
    assert done.returncode == 1


def test_tasks_that_do_not_end_in_time_are_told_too(run: Run) -> None:
    done = run(
        "-n", "1", "--task", "drill_sleep", "--kwargs", '{"seconds": 4}', "--count", "1", "--wait", "--timeout", "1", "--json"
    )
    told = numbers(done)
    assert done.returncode == 1
    assert told["tasks"]["completion_percent"] == 0.0


def test_what_the_server_refuses_is_counted_with_its_reason(run: Run) -> None:
    done = run("-n", "3", "--task", "no_such_task", "--json")
    told = numbers(done)
    assert done.returncode == 1
    ((reason, count),) = told["errors"].items()
    assert count == 3
    assert reason.startswith("422 /task: there is no task 'no_such_task'")


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        (["--url", "http://127.0.0.1:1"], {}, "the server cannot be reached"),
        (["--url", "ftp://x"], {}, "--url 'ftp://x' is not accepted"),
        (["--token", "wrong"], {}, "the server answers 401: This token is unknown, expired or revoked."),
        ([], {"ZENITH_API_KEY": "", "ZENITH_DATA_DIR": "/nonexistent"}, "no token: set --token or ZENITH_API_KEY"),
        (["-n", "0"], {}, "must be at least 1"),
        (["--kwargs", "{"], {}, "must be a JSON object"),
    ],
)
def test_what_makes_no_sense_ends_with_2_before_anything_is_fired(
    run: Run, options: list[str], environment: dict[str, str], says: str
) -> None:
    done = run(*options, **environment)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not Batch.objects.exists()


def test_the_token_that_up_generated_is_found(run: Run, token: str, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "api_key").write_text(token + "\n")
    done = run("-n", "1", "--count", "1", "--json", ZENITH_API_KEY="", ZENITH_DATA_DIR=str(tmp_path))
    assert numbers(done)["accepted"] == 1


def test_at_a_terminal_there_is_a_bar(port: int, token: str) -> None:
    ours, its = pty.openpty()
    command = [sys.executable, str(REPOSITORY / "stress_test.py"), "-n", "2", "--count", "1", "--url", f"http://127.0.0.1:{port}"]
    env = {"PATH": os.environ["PATH"], "ZENITH_API_KEY": token}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=its, text=True, timeout=60, check=False)
    os.close(its)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert shown.rstrip().endswith("█" * 30 + " 2/2")


def test_help() -> None:
    done = subprocess.run([sys.executable, str(REPOSITORY / "stress_test.py"), "--help"],
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    for option in ("--url", "--token", "-n", "--concurrency", "--task", "--wait", "--json", "Exit status"):
        assert option in done.stdout
