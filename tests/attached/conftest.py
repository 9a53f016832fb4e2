"""Somebody's application, run by workers of the Celery of its own virtual environment, attached or not."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests.attached.environments import HERE, import_path, python_of
from tests.processes import TAIL, ends, exec_with_parent
from tests.waiting import PATIENCE
from zenith_site.embedded.state import addresses
from zenith_worker.wire import stream

#: Seconds for all behaviours.
WITHIN = 90


def zenith_url() -> str:
    """Return the URL of Zenith's Redis, with the user that workers are."""
    return addresses(Path(os.environ["ZENITH_DATA_DIR"])).worker_redis_url


class Shop:
    """The application's programs under one version of Celery; its broker and results are databases of the test's Redis."""

    def __init__(self, version: str, directory: Path) -> None:
        self.version = version
        self._python = str(python_of(version))
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        url = os.environ["REDIS_URL"]
        self._base = url[: -len(urlsplit(url).path)]

    def empty(self) -> None:
        """Empty the application's broker and results."""
        for database in ("9", "10"):
            redis.Redis.from_url(f"{self._base}/{database}").flushdb()

    def worker(self, name: str = "shop@one", *options: str, attached: bool = True, **changes: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        include = ("-I", "zenith_worker.auto") if attached else ()
        command = ("-m", "celery", "-A", "shop", "worker", "-n", name, "-Q", "celery,slow", "-l", "INFO", *include, *options)
        with (self._directory / f"{name.partition('@')[2]}.log").open("ab") as output:
            process = subprocess.Popen(
                exec_with_parent(self._python, *command), cwd=HERE, env=self._environment(attached=attached, **changes),
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def run(self, *command: str, attached: bool = True, **changes: str) -> Any:
        """Run one of its programs and return the JSON that it prints."""
        done = subprocess.run(
            exec_with_parent(self._python, *command), cwd=HERE, env=self._environment(attached=attached, **changes),
            capture_output=True, text=True, timeout=WITHIN * PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr[-TAIL:]}\n--- workers:\n{self.log[-TAIL:]}"
        return json.loads(done.stdout)

    def read(self, command: str, *words: str) -> Any:
        """Return what the Redis says that holds the application's results and notes."""
        return redis.Redis.from_url(f"{self._base}/10").execute_command(command, *words)

    @property
    def log(self) -> str:
        """What its workers wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self._directory.glob("*.log")))

    def stop(self) -> None:
        """End its workers as an operator does."""
        for process in self._processes:
            process.terminate()
        late = [process for process in self._processes if not ends(process.pid, 60)]
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
        assert not late, f"{len(late)} workers did not end:\n{self.log[-TAIL:]}"

    def _environment(self, *, attached: bool, **changes: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        zenith = {"ZENITH_URL": zenith_url(), "PYTHONPATH": str(import_path())} if attached else {}
        own = {"SHOP_BROKER": f"{self._base}/9", "SHOP_RESULTS": f"{self._base}/10"}
        # Celery refuses to run as root where it accepts pickled messages.
        return {**kept, **own, **zenith, "C_FORCE_ROOT": "1", "PYTHONDONTWRITEBYTECODE": "1", **changes}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[[str], Shop]]:
    """Makes the application under a version of Celery."""
    shops: list[Shop] = []

    def make(version: str) -> Shop:
        shops.append(Shop(version, tmp_path))
        shops[-1].empty()
        return shops[-1]

    stream.client().flushdb()
    yield make
    for shop in shops:
        shop.stop()
