"""What a body used is measured where it can be, and changes nothing where not."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from celery.app.task import Context

from zenith_worker import out_of_memory, usage
from zenith_worker.carried import carried
from zenith_worker.outcomes import Outcome
from zenith_worker.wire.events import decode, encode

MEGABYTE = 2**20


def burn(seconds: float) -> None:
    """Use CPU time of this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.fixture
def in_thread() -> Any:
    """Runs a function in a thread, and returns its result."""

    def run(function: Any) -> Any:
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(function()))
        thread.start()
        thread.join()
        return results[0]

    return run


def measured(body: Any) -> usage.Usage:
    meter = usage.begin()
    body()
    return usage.Usage() if meter is None else meter.read()


def test_a_process_that_runs_one_task_tells_cpu_time_and_the_largest_memory() -> None:
    small = measured(lambda: None)
    large = measured(lambda: (burn(0.05), bytearray(64 * MEGABYTE)))
    again = measured(lambda: None)
    assert large.cpu is not None
    assert large.cpu >= 0.05
    assert small.memory is not None
    assert large.memory is not None
    assert again.memory is not None
    assert large.memory > small.memory + 48 * MEGABYTE
    assert again.memory < large.memory - 32 * MEGABYTE


def test_a_thread_tells_its_own_cpu_time_and_no_memory(in_thread: Any) -> None:
    other = threading.Thread(target=burn, args=(0.2,))
    other.start()
    used = in_thread(lambda: measured(lambda: burn(0.01)))
    other.join()
    assert 0.01 <= used.cpu < 0.2
    assert used.memory is None


def test_of_a_greenlet_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    patched = SimpleNamespace(is_module_patched=lambda name: name == "threading")
    monkeypatch.setitem(__import__("sys").modules, "gevent.monkey", patched)
    assert usage.begin() is None
    request = Context(id="t1")
    carried(request).start()
    assert carried(request).used == (None, None)


def test_where_the_kernel_must_not_forget_only_more_than_ever_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    usage.keep_peak(SimpleNamespace(max_memory_per_child=1000))
    try:
        assert measured(lambda: None).memory is None
        before = measured(lambda: bytearray(8 * MEGABYTE))
        assert before.cpu is not None
    finally:
        usage.keep_peak(SimpleNamespace(max_memory_per_child=None))
    assert measured(lambda: None).memory is not None


def test_without_the_kernels_file_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError

    monkeypatch.setattr(usage.os, "open", refuse)
    used = measured(lambda: None)
    assert used.cpu is not None
    assert used.memory is None


def test_an_outcome_tells_it_and_memory_beyond_every_time_as_well() -> None:
    request = Context(id="t1", hostname="w1")
    carried(request).start()
    burn(0.01)
    event = Outcome(task_id="t1", state="SUCCESS", value=1, request=request).event(100)
    assert event.cpu is not None
    assert event.cpu >= 0.01
    assert event.memory is not None
    event.memory = 2**45
    (read,) = decode(encode([event]))
    assert (read.cpu, read.memory) == (event.cpu, 2**45)


# --- Out of memory ---

KILLED = "Worker exited prematurely: signal 9 (SIGKILL) Job: 3."
NAMED = "out of memory: the kernel killed a process here to free memory; the limit is 512 MB"


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group of version 2, as a container sees its own."""
    monkeypatch.setattr(out_of_memory, "_ROOT", tmp_path)
    monkeypatch.setattr(out_of_memory, "_OF_PROCESS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 3\noom_group_kill 0\n")
    (tmp_path / "memory.max").write_text("536870912\n")
    return tmp_path


def test_a_kill_is_named_once_and_with_the_limit(group: Path) -> None:
    out_of_memory.begin()
    assert out_of_memory.explain(KILLED) == ""
    (group / "memory.events").write_text("oom_kill 4\n")
    assert out_of_memory.explain("Worker exited prematurely: signal 11 (SIGSEGV) Job: 3.") == ""
    assert out_of_memory.explain(KILLED) == NAMED
    assert out_of_memory.explain(KILLED) == ""


def test_the_error_of_a_lost_process_says_it(group: Path) -> None:
    out_of_memory.begin()
    error = WorkerLostError(KILLED)
    outcome = Outcome(task_id="t1", state="FAILURE", value={}, error=error)
    assert outcome.event(100).error_message == str(error)
    (group / "memory.events").write_text("oom_kill 4\n")
    assert outcome.event(100).error_message == f"{error} ({NAMED})"


def test_a_group_of_version_1_below_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_memory, "_ROOT", tmp_path)
    monkeypatch.setattr(out_of_memory, "_OF_PROCESS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("12:cpu,cpuacct:/a\n9:memory:/system.slice/worker\n0::/x\n")
    folder = tmp_path / "memory" / "system.slice" / "worker"
    folder.mkdir(parents=True)
    (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    out_of_memory.begin()
    (folder / "memory.oom_control").write_text("oom_kill 1\n")
    assert out_of_memory.explain(KILLED) == "out of memory: the kernel killed a process here to free memory"


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill -1\n", "oom_kill many\n"])
def test_without_a_count_nothing_is_said(text: str, group: Path) -> None:
    (group / "memory.events").write_text(text)
    out_of_memory.begin()
    (group / "memory.events").write_text("oom_kill 9\n")
    assert out_of_memory.explain(KILLED) == ""
