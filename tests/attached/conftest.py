"""Somebody's application, run by workers of the Celery of its own virtual environment, attached or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests.attached.environments import HERE, import_path, python_of, versions_of
from tests.processes import TAIL, ends, exec_with_parent
from tests.waiting import PATIENCE
from zenith_site.embedded.state import addresses
from zenith_worker.wire import stream

#: Seconds for all behaviours.
WITHIN = 90


def zenith_url() -> str:
    """Return the URL of Zenith's Redis, with the user that workers are."""
    return addresses(Path(os.environ["ZENITH_DATA_DIR"])).worker_redis_url


class Company:
    """Somebody's programs, run in an environment of their own: they know nothing of Zenith.

    Arguments:
        pins: the environment's name.
        directory: where the logs of its workers lie.
        cwd: the directory that its programs run in.
        own: the environment variables of its own.
    """

    def __init__(self, pins: str, directory: Path, cwd: Path, own: Mapping[str, str]) -> None:
        python = python_of(pins)
        # pytest shows it for a failed test only.
        print(f"{pins}: {versions_of(python)}")  # noqa: T201
        self._python = str(python)
        self._cwd, self._own = cwd, own
        self._directory = directory
        self._directory.mkdir(exist_ok=True)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, log: str, *command: str, attached: bool = True, **changes: str) -> subprocess.Popen[bytes]:
        """Start one of its programs, which goes on until `stop`."""
        with (self._directory / f"{log}.log").open("ab") as output:
            process = subprocess.Popen(
                exec_with_parent(self._python, *command), cwd=self._cwd, env=self._environment(attached=attached, **changes),
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def celery_worker(self, app: str, name: str, *options: str, attached: bool = True, **changes: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        include = ("-I", "zenith_worker.auto") if attached else ()
        command = ("-m", "celery", "-A", app, "worker", "-n", name, "-l", "INFO", *include, *options)
        return self.start(name.partition("@")[2], *command, attached=attached, **changes)

    def run(self, *command: str, attached: bool = True, **changes: str) -> Any:
        """Run one of its programs and return the JSON that it prints."""
        done = subprocess.run(
            exec_with_parent(self._python, *command), cwd=self._cwd, env=self._environment(attached=attached, **changes),
            capture_output=True, text=True, timeout=WITHIN * PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr[-TAIL:]}\n--- workers:\n{self.log[-TAIL:]}"
        return json.loads(done.stdout)

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
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()
        assert not late, f"{len(late)} of its programs did not end:\n{self.log[-TAIL:]}"

    def kill(self) -> None:
        """End its programs at once, with all that they started."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def _environment(self, *, attached: bool, **changes: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        zenith = {"ZENITH_URL": zenith_url(), "PYTHONPATH": str(import_path())} if attached else {}
        # Celery refuses to run as root where it accepts pickled messages.
        return {**kept, **self._own, **zenith, "C_FORCE_ROOT": "1", "PYTHONDONTWRITEBYTECODE": "1", **changes}


class Shop(Company):
    """The application of shop.py under one version of Celery; its broker and results are databases of the test's Redis."""

    def __init__(self, version: str, directory: Path, databases: tuple[int, int] = (9, 10)) -> None:
        super().__init__(f"celery-{version}", directory, HERE, {})
        self.version = version
        self.broker, self.results = (f"{redis_server()}/{database}" for database in databases)

    def empty(self) -> None:
        """Empty the application's broker and results."""
        for url in (self.broker, self.results):
            redis.Redis.from_url(url).flushdb()

    def read(self, command: str, *words: str) -> Any:
        """Return what the Redis says that holds the application's results and notes."""
        return redis.Redis.from_url(self.results).execute_command(command, *words)

    def worker(self, name: str = "shop@one", *options: str, attached: bool = True, **changes: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        return self.celery_worker("shop", name, "-Q", "celery,slow", *options, attached=attached, **changes)

    def _environment(self, *, attached: bool, **changes: str) -> dict[str, str]:
        return super()._environment(attached=attached, **{"SHOP_BROKER": self.broker, "SHOP_RESULTS": self.results, **changes})


def redis_server() -> str:
    """Return the URL of the test's Redis, without a database."""
    url = os.environ["REDIS_URL"]
    return url[: -len(urlsplit(url).path)]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[[str], Shop]]:
    """Makes the application under a version of Celery; each one is another company's."""
    shops: list[Shop] = []

    def make(version: str) -> Shop:
        number = len(shops)
        shops.append(Shop(version, tmp_path / f"shop-{number}", (9 + 2 * number, 10 + 2 * number)))
        shops[-1].empty()
        return shops[-1]

    stream.client().flushdb()
    yield make
    for shop in shops:
        shop.stop()
    # Whichever engine the next test starts would take the application in.
    stream.client().flushdb()
