"""docker-compose.yml, run for real: `cp .env.example .env && docker compose up --build`, and what operators then do with it.

The tests share one installation and follow each other. It begins as one of the version before, whose newest migration is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from django.db.migrations.loader import MigrationLoader

from tests.docker import compose
from tests.docker.compose import Compose
from tests.docker.engine import docker
from tests.waiting import eventually

BEFORE = "made before the upgrade"


@pytest.fixture(scope="module")
def older_image(image: str) -> Iterator[str]:
    """The image of an older version, without the newest migration."""
    tag = f"zenith-test-older:{uuid4().hex[:12]}"
    app, name = newest_migration()
    recipe = f"FROM {image}\nUSER 0\nRUN rm {app}/migrations/{name}.py {app}/migrations/__pycache__/{name}.*\nUSER 10001:10001\n"
    docker("build", "--quiet", "--tag", tag, "-", within=120, given=recipe)
    yield tag
    docker("image", "rm", "--force", tag)


@pytest.fixture(scope="module")
def stack(networks: None, image: str, older_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The installation, upgraded from the older image to this one."""
    if compose.command() is None:
        pytest.fail("there is neither `docker compose` nor docker-compose (apt-get install docker-compose)")
    found = Compose(tmp_path_factory.mktemp("compose"), image)
    try:
        manage = ("run", "--rm", "migrate", "python", "manage.py")
        found("run", "--rm", "migrate", within=compose.UP_WITHIN, ZENITH_IMAGE=older_image)
        found(*manage, "create_token", "admin", "--name", BEFORE, ZENITH_IMAGE=older_image)
        found.up("--build")
        found.await_health()
        yield found
    finally:
        found.remove()


def newest_migration() -> tuple[str, str]:
    """Return the app and name of a migration of ours that no other depends on."""
    graph = MigrationLoader(None).graph
    free = [key for key, node in graph.node_map.items() if not node.children and key[0].endswith("_app")]
    return max(free, key=lambda key: key[1])


def test_every_service_gets_well_and_no_password_is_a_known_one(stack: Compose) -> None:
    assert stack.services() == {"db", "redis", "web", "worker", "engine", "agent", "flower"}
    passwords = {stack.secret(name) for name in ("admin_password", "api_key", "secret_key", "flower_password")}
    assert len(passwords) == 4
    assert min(map(len, passwords)) >= 20


def test_an_upgrade_migrates_and_keeps_what_there_was(stack: Compose) -> None:
    migrations = stack("exec", "-T", "web", "python", "manage.py", "showmigrations", "--plan")

    assert "[X]" in migrations
    assert "[ ]" not in migrations
    assert BEFORE in str(stack.api("GET", "/api/v1/tokens"))


def test_ten_tasks_run_on_its_worker_and_flower_tells_the_same(stack: Compose) -> None:
    # Flower enables the workers' events some time after both have started.
    eventually(lambda: stack.trigger(count=1) & stack.flower("/api/tasks").keys(), within=60, but=stack.news)

    ids = stack.trigger()
    tasks = stack.outcome(ids)

    assert len(ids) == 10
    assert {task["worker"].partition("@")[2] for task in tasks.values()} == stack.hostnames("worker")
    eventually(lambda: _states(stack, ids) == dict.fromkeys(ids, "SUCCESS"), but=lambda: _states(stack, ids))


def test_flower_asks_for_its_password(stack: Compose) -> None:
    assert httpx.get(f"http://127.0.0.1:{stack.flower_port}/api/tasks", timeout=30).status_code == 401
    with pytest.raises(AssertionError, match="answered 401"):
        stack.flower("/api/tasks", password="admin")


def test_three_workers_share_the_work(stack: Compose) -> None:
    stack.up("--scale", "worker=3", "--no-recreate", workers=3)

    tasks = stack.outcome(stack.trigger(task="drill_sleep", data=0.3, count=90))

    hostnames = stack.hostnames("worker")
    assert len(hostnames) == 3
    assert {task["worker"].partition("@")[2] for task in tasks.values()} == hostnames


def test_a_node_that_the_agent_starts_joins_in(stack: Compose) -> None:
    deployed = stack.api("POST", "/deploy", json={"name": "extra", "queues": ["elsewhere"], "concurrency": 1})
    assert deployed["status"] == "SUCCESS"

    tasks = stack.outcome(stack.trigger(count=3, queue="elsewhere"))

    assert {task["worker"].partition("@")[2] for task in tasks.values()} == {deployed["node_id"]}
    stack.api("DELETE", f"/api/v1/groups/{deployed['group_id']}")
    eventually(lambda: not stack.nodes(), within=120, but=stack.news, every=1)


def test_database_and_broker_keep_what_they_hold_when_they_restart(stack: Compose) -> None:
    stack("stop", "worker")
    waiting = stack.trigger(count=20)

    stack("restart", "db", "redis")
    stack.await_workers(0)
    assert stack.tasks(waiting).keys() == waiting

    stack("start", "worker")
    stack.outcome(waiting)


def test_down_and_up_keep_everything(stack: Compose) -> None:
    key, ids = stack.secret("api_key"), stack.trigger(count=5)
    stack.outcome(ids)
    held = stack.trigger(count=1, not_before="2100-01-01T00:00:00Z")

    stack("down", "--timeout", "20")
    stack.up()

    assert stack.secret("api_key") == key
    assert {task["status"] for task in stack.tasks(ids).values()} == {"SUCCESS"}
    assert [task["status"] for task in stack.tasks(held).values()] == ["SCHEDULED"]
    stack.outcome(stack.trigger(count=3))


def test_only_the_agent_has_the_docker_socket(stack: Compose) -> None:
    described = json.loads(docker("inspect", *stack.containers()))
    holders = [
        each["Config"]["Labels"]["com.docker.compose.service"] for each in described if "docker.sock" in str(each["Mounts"])
    ]

    assert holders == ["agent"]


def _states(stack: Compose, ids: set[str]) -> dict[str, str]:
    """Return these tasks as Flower reports them."""
    return {key: task["state"] for key, task in stack.flower("/api/tasks").items() if key in ids}
