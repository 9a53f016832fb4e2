"""Run docker-compose.yml in a test: with its own name, ports and image, from a fresh copy of .env.example."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from infra_app.agent.names import NODE_LABEL
from tests.docker.engine import docker, run
from tests.processes import REPOSITORY, free_port
from tests.waiting import eventually

#: Shared by all requests, because creating one takes a fifth of a second; it keeps no connections, because servers restart.
HTTP = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))
#: Timeout of `up` in seconds: the whole stack starts, on a machine that may be busy.
UP_WITHIN = 300.0
#: Which service has a secret; only the migration has the first admin's.
HOLDERS = {"secret_key": "web", "flower_password": "flower"}


@cache
def command() -> tuple[str, ...] | None:
    """Return the Compose command of this machine, preferring the newer one; None if there is none."""
    if subprocess.run(("docker", "compose", "version"), capture_output=True, check=False).returncode == 0:
        return ("docker", "compose")
    return ("docker-compose",) if shutil.which("docker-compose") else None


class Compose:
    """A Compose project."""

    def __init__(self, directory: Path, image: str) -> None:
        self.project = f"zenith-test-{uuid4().hex[:8]}"
        self._secrets: dict[str, str] = {}
        self.dotenv = directory / ".env"
        # Settings that a test needs and an operator would not.
        self.dotenv.write_text(f"{(REPOSITORY / '.env.example').read_text()}\nZENITH_RATE_LIMIT=1000/60s\nZENITH_DRILLS=true\n")
        self.port, self.flower_port = free_port(), free_port()
        self.environment = {
            "ZENITH_IMAGE": image,
            "ZENITH_WORKER_IMAGE": image,
            "ZENITH_ENV_FILE": str(self.dotenv),
            "ZENITH_PORT": str(self.port),
            "ZENITH_FLOWER_PORT": str(self.flower_port),
            "ZENITH_NODE_NETWORK": self.project,
        }

    def __call__(self, *arguments: str, within: float = 120.0, **environment: str) -> str:
        """Run Compose and return its output; if it fails, fail with its output."""
        given = ("--project-name", self.project, "--env-file", str(self.dotenv))
        return run(*(command() or ()), *given, *arguments, within=within, environment={**self.environment, **environment})

    def up(self, *arguments: str, workers: int = 1) -> None:
        """Start everything and wait until `workers` workers are online."""
        self("up", "--detach", *arguments, within=UP_WITHIN)
        self.await_workers(workers)

    def await_workers(self, number: int) -> None:
        """Wait until everything is up, with `workers` workers."""
        eventually(lambda: self._workers() == number, within=UP_WITHIN, but=self.news, every=0.5)

    def await_health(self) -> None:
        """Wait until the health check of every running container succeeds."""
        eventually(lambda: all("(healthy)" in state for state in self.states()), within=UP_WITHIN, but=self.news, every=1)

    def containers(self, *filters: str) -> list[str]:
        """Return the ids of the running containers."""
        wanted = (f"label=com.docker.compose.project={self.project}", *filters)
        return docker("ps", "--quiet", *(f"--filter={each}" for each in wanted)).split()

    def nodes(self) -> list[str]:
        """Return the ids of the containers that its agent created."""
        wanted = (f"--filter=network={self.project}", f"--filter=label={NODE_LABEL}")
        return docker("ps", "--all", "--quiet", *wanted).split()

    def states(self) -> list[str]:
        """Return the engine's status of each running container."""
        return docker("ps", "--format={{.Status}}", f"--filter=label=com.docker.compose.project={self.project}").splitlines()

    def services(self) -> set[str]:
        """Return the running services."""
        label = "com.docker.compose"
        wanted = (f'--format={{{{.Label "{label}.service"}}}}', f"--filter=label={label}.project={self.project}")
        return set(docker("ps", *wanted).split())

    def hostnames(self, service: str) -> set[str]:
        """Return the host names of a service's containers."""
        found = self.containers(f"label=com.docker.compose.service={service}")
        return set(docker("inspect", "--format={{.Config.Hostname}}", *found).split())

    def news(self) -> str:
        """Return the state of everything and the last lines of its logs."""
        return f"{self('ps')}\n{self('logs', '--tail=20')}"

    def secret(self, name: str) -> str:
        """Return a secret that was generated at the first start."""
        if name in HOLDERS:
            return self("exec", "-T", HOLDERS[name], "cat", f"/run/zenith/{name}")
        return self("run", "--rm", "--no-deps", "-T", "migrate", "cat", f"/data/secrets/{name}")

    def _known(self, name: str) -> str:
        """Return a secret, cached because running Compose takes a second."""
        if name not in self._secrets:
            self._secrets[name] = self.secret(name)
        return self._secrets[name]

    def api(self, method: str, path: str, **request: Any) -> Any:
        """Call Zenith's API."""
        key = {"X-API-Key": self._known("api_key")}
        return _json(HTTP.request(method, f"http://127.0.0.1:{self.port}{path}", headers=key, timeout=150, **request))

    def flower(self, path: str, *, password: str | None = None) -> Any:
        """Call Flower's API."""
        login = ("admin", self._known("flower_password") if password is None else password)
        return _json(HTTP.get(f"http://127.0.0.1:{self.flower_port}{path}", auth=login, timeout=30))

    def trigger(self, **body: Any) -> set[str]:
        """Send tasks and return their ids."""
        return set(self.api("POST", "/tasks/trigger", json=body)["ids"])

    def tasks(self, ids: set[str]) -> dict[str, dict[str, Any]]:
        """Return tasks with these ids among the newest thousand, by id."""
        return {task["task_id"]: task for task in self.api("GET", "/tasks/all?limit=1000") if task["task_id"] in ids}

    def outcome(self, ids: set[str], *, within: float = 120.0) -> dict[str, dict[str, Any]]:
        """Wait until all these tasks have succeeded, and return them."""
        eventually(lambda: _succeeded(self.tasks(ids)) == ids, within=within, but=self.news, every=0.3)
        return self.tasks(ids)

    def _workers(self) -> int:
        """Return how many workers are online; negative if the API does not answer or not everything is up."""
        try:
            answer = HTTP.get(f"http://127.0.0.1:{self.port}/health", timeout=10)
        except httpx.HTTPError:
            return -1
        return int(answer.json()["workers"]) if answer.status_code == 200 else -1

    def remove(self) -> None:
        """Remove all its containers, volumes and networks, including its nodes."""
        for node in self.nodes():
            docker("rm", "--force", node)
        self("down", "--volumes", "--remove-orphans", "--timeout", "5")


def _succeeded(tasks: dict[str, dict[str, Any]]) -> set[str]:
    return {task_id for task_id, task in tasks.items() if task["status"] == "SUCCESS"}


def _json(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text[:500]}"
    return answer.json()
