"""Nodes on a real engine, with the image of the project's Dockerfile: from the deployment to the last log line."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from infra_app import log_stream, nodes
from infra_app.agent.names import container_name
from infra_app.models import HostSnapshot, Node, NodeSample
from infra_app.states import NodeStatus
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from tests.docker.engine import docker
from tests.docker.lab import FIRST_ENGINE, READY_WITHIN, Lab, took
from tests.stack import environment
from tests.waiting import eventually
from zenith_site.auth.tokens import create_token
from zenith_worker.wire.states import Status

HOST = "alpha"


@pytest.fixture(scope="module")
def alpha(lab: Lab) -> Iterator[Lab]:
    """A lab with one host; at the end everything is removed through Zenith, and nothing may remain on the engine."""
    agent = lab.agent(HOST, FIRST_ENGINE, "--region", "here", "--label", "disk=ssd")
    yield lab
    there = list(Node.objects.exclude(status=NodeStatus.REMOVED))
    lab.order("remove", *[node for node in there if node.desired != "REMOVED"])
    eventually(lambda: not Node.objects.exclude(status=NodeStatus.REMOVED).exists(), within=60)
    assert not [box for node in there for box in lab.containers(node)]
    agent.stop(signal.SIGTERM)
    assert not lab.host(HOST).online


@pytest.fixture(scope="module")
def api(lab: Lab) -> Client:
    """A client with every scope."""
    _, raw = create_token(User.objects.create_superuser("root"), "test", ("read", "dispatch", "operate", "infra"))
    return Client(headers={"X-API-Key": raw})


def send(queue: str, count: int, task: str = "analyze_text", data: object = "one two three") -> list[Task]:
    done = dispatch(Dispatch(task=task, count=count, data=data, queue=queue), Origin(source="api"))
    return list(Task.objects.filter(pk__in=done.ids))


def say(node: Node, words: str) -> None:
    """Make a node's container write a line, as its worker would."""
    docker("exec", container_name(node.pk), "sh", "-c", f"echo {words} > /proc/1/fd/1")


def test_a_deploy_through_the_api_is_ready_soon_and_runs_fifty_tasks(alpha: Lab, api: Client) -> None:
    began = time.monotonic()
    body = {"name": "fifty", "queues": ["fifty"], "concurrency": 2, "memory_mb": 384, "host": HOST, "image": alpha.image}
    answer = api.post("/deploy?wait=60", body, content_type="application/json")
    took("READY", began)
    assert answer.status_code == 202, answer.content
    node = Node.objects.get(pk=answer.json()["node_id"])
    # On a busy machine this takes longer than a request may wait.
    alpha.until(node, lambda node: node.status == NodeStatus.READY, within=READY_WITHIN)
    assert [event.kind for event in node.events.order_by("id")][-3:] == ["created", "started", "ready"]

    done = alpha.finished(send("fifty", 50))
    assert {task.status for task in done} == {Status.SUCCESS}
    assert {task.worker for task in done} == {node.worker}
    assert str(node.pk) in node.worker


def test_its_container_is_closed_and_shows_no_secret(alpha: Lab) -> None:
    group = alpha.deploy("closed", secrets={"APP_PASSWORD": "a secret of the shop"}, environment={"APP_URL": "https://shop"})
    [node] = alpha.ready(group)
    shown = json.loads(docker("inspect", container_name(node.pk)))[0]
    host = shown["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Binds"] is None
    assert [mount["Type"] for mount in shown["Mounts"]] == ["volume"]
    assert host["Memory"] == host["MemorySwap"] == 256 * 1024 * 1024
    assert host["NanoCpus"] == 1_000_000_000
    assert host["Init"] is True
    assert "APP_URL=https://shop" in shown["Config"]["Env"]

    given = environment()
    passwords = [str(urlsplit(given[name]).password) for name in ("DATABASE_URL", "REDIS_URL")]
    whole = json.dumps(shown)
    assert not [secret for secret in ("a secret of the shop", *passwords) if secret in whole]
    inside = docker("exec", container_name(node.pk), "sh", "-c", 'cat "$APP_PASSWORD_FILE"')
    assert inside == "a secret of the shop"


def test_scaling_in_drains_a_node_in_the_middle_of_its_tasks_and_loses_none(alpha: Lab) -> None:
    group = alpha.deploy("wide")
    alpha.ready(group)
    nodes.scale(group.pk, 3, by="the test")
    ready = alpha.ready(group, 3)

    tasks = send("wide", 12, "drill_sleep", 1.5)
    busy = eventually(lambda: Task.objects.filter(pk__in=[task.pk for task in tasks], status=Status.STARTED).first())
    drained = next(node for node in ready if node.worker == busy.worker)
    alpha.order("drain", drained)
    done = alpha.finished(tasks)
    assert {task.status for task in done} == {Status.SUCCESS}
    assert {task.attempt for task in done} == {1}
    alpha.until(drained, lambda node: node.status == NodeStatus.STOPPED)
    assert "draining" in {event.kind for event in drained.events.all()}

    alpha.order("remove", *alpha.nodes(group))
    eventually(lambda: not alpha.nodes(group).exists(), but=lambda: alpha.told(group))
    assert not [box for node in ready for box in alpha.containers(node)]


def test_a_killed_container_is_started_again_and_its_task_runs_to_its_end(alpha: Lab) -> None:
    group = alpha.deploy("mortal")
    [node] = alpha.ready(group)
    [task] = send("mortal", 1, "drill_sleep", 4)
    eventually(lambda: Task.objects.get(pk=task.pk).status == Status.STARTED)
    say(node, "the last words")
    docker("kill", "--signal", "KILL", container_name(node.pk))
    alpha.until(node, lambda node: node.restarts == 1)
    assert (node.exit_code, node.oom_killed, node.finished_at is not None) == (137, False, True)
    assert node.log_tail.endswith(" the last words")
    assert "killed (137)" in [event.message for event in node.events.filter(kind="died")]
    alpha.ready(group)
    [done] = alpha.finished([task], within=90)
    assert (done.status, done.worker) == (Status.SUCCESS, node.worker)


def test_a_node_without_enough_memory_says_so_and_is_tried_again_ever_later(alpha: Lab) -> None:
    group = alpha.deploy("starved", memory_mb=64)
    [node] = alpha.nodes(group)
    alpha.until(node, lambda node: node.status == NodeStatus.FAILED, within=120)
    assert node.oom_killed
    assert node.exit_code == 137
    assert "out of memory (137), 3 times in a row" in node.reason
    assert node.retry_at is not None
    assert node.events.filter(kind="out-of-memory").count() == 3
    alpha.order("remove", node)
    alpha.until(node, lambda node: node.status == NodeStatus.REMOVED)
    assert node.log_tail is not None


def test_an_image_that_is_nowhere_fails_with_the_engines_reason_and_what_to_do(alpha: Lab, settings: object) -> None:
    settings.ZENITH_ALLOWED_IMAGES = ["no-such-image:1"]  # type: ignore[attr-defined]
    group = alpha.deploy("nowhere", image="no-such-image:1")
    [node] = alpha.nodes(group)
    alpha.until(node, lambda node: node.status == NodeStatus.FAILED)
    assert node.reason.startswith("Image no-such-image:1 is not on this host and could not be pulled: ")
    assert "docker build -t no-such-image:1 ." in node.reason
    assert "pulling" in {event.kind for event in node.events.all()}
    alpha.order("remove", node)
    alpha.until(node, lambda node: node.status == NodeStatus.REMOVED)


def test_its_log_is_followed_while_somebody_reads(alpha: Lab) -> None:
    group = alpha.deploy("loud")
    [node] = alpha.ready(group)
    say(node, "before")
    assert log_stream.read(node.pk) == []
    log_stream.watch(node.pk)
    eventually(lambda: printed(node) == ["before"])
    newest = log_stream.read(node.pk)[-1].id
    say(node, "$(seq -s. 1 3)")
    eventually(lambda: [line.text for line in log_stream.read(node.pk, after=newest)] == ["1.2.3"])

    docker("kill", container_name(node.pk))
    alpha.until(node, lambda node: node.restarts == 1)
    say(node, "again")
    eventually(lambda: printed(node) == ["before", "1.2.3", "again"])


def printed(node: Node) -> list[str]:
    """Return lines of the container's standard output; its worker writes to standard error. Reading repeats the watch."""
    log_stream.watch(node.pk)
    return [line.text for line in log_stream.read(node.pk) if line.stream == "stdout"]


def test_figures_and_what_the_host_holds_are_kept(alpha: Lab, api: Client) -> None:
    [node] = alpha.ready(alpha.deploy("measured"))
    eventually(lambda: NodeSample.objects.filter(node=node).count() >= 2, within=60)
    node.refresh_from_db()
    assert node.memory_bytes > 20_000_000
    assert node.cpu_percent is not None
    host = alpha.host(HOST)
    assert (host.online, host.region, host.labels) == (True, "here", {"disk": "ssd"})
    assert host.cpus >= 1
    assert host.memory_used_bytes > 0

    name = container_name(node.pk)
    held = eventually(lambda: next(iter(HostSnapshot.objects.filter(host=host)), None))
    eventually(lambda: held.refresh_from_db() or name in {box["name"] for box in held.containers}, within=90)
    box = next(box for box in held.containers if box["name"] == name)
    assert box["node_id"] == str(node.pk)
    assert box["networks"][0]["name"] == "bridge"
    bridge = next(network for network in held.networks if network["name"] == "bridge")
    assert name in {member["name"] for member in bridge["members"]}
    image = next(image for image in held.images if alpha.image in image["tags"])
    assert name in {used for volume in held.volumes for used in volume["used_by"]}
    # Names, except the image's: if another run has tagged the image too, it may be listed under that tag.
    listed = {thing["id"]: thing["name"] for thing in api.get("/api/inventory").json()}
    assert (listed[box["id"]], listed[bridge["id"]]) == (name, "bridge")
    assert image["id"] in listed
    assert name in {box["name"] for box in api.get("/api/network").json() if box["ip"]}


def test_a_container_that_somebody_else_made_is_left_alone(alpha: Lab) -> None:
    # A name that no other clone's tests use at the same time.
    name = f"zenith-somebody-elses-{uuid4().hex[:8]}"
    docker("run", "--detach", "--name", name, "--entrypoint", "sleep", alpha.image, "300")
    try:
        group = alpha.deploy("aside")
        alpha.ready(group)
        alpha.order("remove", *alpha.nodes(group))
        eventually(lambda: not alpha.nodes(group).exists())
        assert docker("inspect", "--format", "{{.State.Status}}", name) == "running"
    finally:
        docker("rm", "--force", name)
