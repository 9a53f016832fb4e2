"""Flower, of the development environment, watching somebody's application beside Zenith: an independent witness."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.processes import TAIL, ends, exec_with_parent, free_port
from tests.waiting import eventually

#: Tasks that it keeps: more than any test sends.
KEPT: Final = 50_000


class Flower:
    """A Flower that runs: what its API says."""

    def __init__(self, port: int, log: Path) -> None:
        self._url, self._log = f"http://127.0.0.1:{port}", log

    @property
    def log(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-TAIL:]

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return all tasks that it knows, by id."""
        answer: dict[str, dict[str, Any]] = self._get("/api/tasks")
        return answer

    def workers(self) -> set[str]:
        """Return the workers that it has heard."""
        return set(self._get("/api/workers?status=1"))

    def answers(self) -> bool:
        """Whether it answers."""
        try:
            self._get("/api/workers?status=1")
        except httpx.TransportError:
            return False
        return True

    def _get(self, path: str) -> Any:
        answer = httpx.get(self._url + path, timeout=30)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def flower(broker: str, directory: Path) -> Iterator[Flower]:
    """Run Flower for the application of a broker, as its own documentation says, with its files in `directory`."""
    directory.mkdir()
    port, log = free_port(), directory / "log"
    options = (f"--port={port}", "--address=127.0.0.1", f"--max-tasks={KEPT}")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    with log.open("ab") as output:
        process = subprocess.Popen(
            exec_with_parent(sys.executable, "-m", "celery", "--broker", broker, "flower", *options), cwd=directory,
            env={**kept, "FLOWER_UNAUTHENTICATED_API": "1", "TZ": "UTC"},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    here = Flower(port, log)
    try:
        eventually(lambda: process.poll() is not None or here.answers(), but=lambda: here.log)
        assert process.poll() is None, here.log
        yield here
    finally:
        process.terminate()
        if not ends(process.pid, 20):
            process.kill()
        process.wait()
