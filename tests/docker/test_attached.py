"""An attached application with all guards in the image's Python, which is newer than the one that other tests run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import uuid4

import pytest

from tasks_app.models import Task
from tests.attached.conftest import redis_server, zenith_url
from tests.attached.environments import HERE
from tests.attached.recording import record
from tests.docker.engine import docker, run
from tests.waiting import eventually
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.ids import key_of

pytestmark = pytest.mark.django_db(transaction=True)

#: Of tests/attached/behaviours.py, with the status that each ends in.
BEHAVIOURS = {
    "plain": "SUCCESS", "own error": "FAILURE", "retried": "SUCCESS", "replaced": "SUCCESS", "own header": "SUCCESS",
    "requeued": "SUCCESS", "soft time limit": "SUCCESS", "number as id": "SUCCESS",
}  # fmt: skip


@pytest.fixture
def container(image: str) -> Iterator[Callable[..., str]]:
    """Starts a program of the application in a container, and returns the container's name."""
    names = []

    def start(*command: str) -> str:
        names.append(f"zenith-test-{uuid4().hex[:12]}")
        variables = {
            "SHOP_BROKER": f"{redis_server()}/9", "SHOP_RESULTS": f"{redis_server()}/10", "ZENITH_URL": zenith_url(),
            "ZENITH_GUARD": "claims,recovery,retries", "PYTHONPATH": "/zenith",
            # The image sets it, for Zenith's own processes.
            "DJANGO_SETTINGS_MODULE": "", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        given = [f"--env={name}={value}" for name, value in variables.items()]
        places = ("--network=host", f"--volume={HERE}:/shop:ro", "--workdir=/shop", "--entrypoint=python")
        docker("run", "--detach", "--init", "--name", names[-1], *places, *given, image, *command)
        return names[-1]

    stream.client().flushall()
    yield start
    for name in names:
        with suppress(AssertionError):
            docker("rm", "--force", name)


def log_of(name: str) -> str:
    """What a container wrote, as far as a failure has to tell it."""
    return run("sh", "-c", f"docker logs {name} 2>&1")[-4000:]


def test_an_attached_application_with_all_guards_runs_in_the_images_python(container: Callable[..., str]) -> None:
    name = container("-m", "celery", "-A", "shop", "worker", "-c", "2", "-Q", "celery,slow", "-I", "zenith_worker.auto")
    eventually(lambda: heartbeat.read_all("shop"), but=lambda: log_of(name))
    told = json.loads(docker("exec", name, "python", "behaviours.py", "--only", *BEHAVIOURS))
    assert set(told["ids"]) == set(BEHAVIOURS)

    def statuses() -> dict[str, str]:
        record()
        keys = {key_of(id_, "shop"): name for name, id_ in told["ids"].items()}
        return {keys[key]: status for key, status in Task.objects.filter(id__in=keys).values_list("id", "status")}

    eventually(lambda: statuses() == BEHAVIOURS, but=lambda: f"{statuses()}\n{log_of(name)}")
    [beat] = heartbeat.read_all("shop")
    assert (beat.python[:4], beat.guards) == ("3.13", ("claims", "recovery", "retries"))
