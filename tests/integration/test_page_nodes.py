"""The pages of nodes, groups, hosts, inventory and network, and their actions."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from infra_app import log_stream, nodes
from infra_app.log_stream import Line
from infra_app.models import Host, Node, NodeGroup, NodeSample
from infra_app.states import Desired, NodeStatus
from infra_app.validation import Deployment
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from tests.hosts import HELD, host, observed, snapshot
from zenith_site.models import AuditEntry
from zenith_worker.wire import stream

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def client_of(role: str) -> Client:
    user = User.objects.create_user(f"the-{role}", password="a long enough one")
    user.groups.add(Group.objects.get(name=role))
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    return client


@pytest.fixture
def person() -> Client:
    return client_of("admin")


def deploy(**changes: Any) -> NodeGroup:
    if not Host.objects.exists():
        host()
    return nodes.deploy(Deployment(**{"name": "reports", **changes}), "ada")


def text(client: Client, path: str, **fields: Any) -> str:
    response = client.get(path, fields)
    assert response.status_code == 200
    return response.content.decode()


# --- The list ---


def test_without_a_host_the_page_says_what_to_run(person: Client) -> None:
    page = text(person, "/nodes/")
    assert "No Docker host yet" in page
    assert "manage.py run_agent" in page
    assert "You can deploy one once a Docker host is online." in page


def test_with_a_host_and_no_node_it_offers_to_deploy_one(person: Client) -> None:
    host()
    assert "POST /deploy" in text(person, "/nodes/")


def test_a_lost_host_says_how_to_get_it_back_and_its_nodes_are_unknown(person: Client) -> None:
    observed(deploy().nodes.get())
    host(seen_at=timezone.now() - timedelta(minutes=2))
    page = text(person, "/nodes/")
    assert "The state of its nodes is unknown; they may still be running." in page
    assert "run_agent --host zen-01" in page
    assert "0 of 1 nodes ready" in page
    host(engine_error="The engine at unix:///var/run/docker.sock does not answer.")
    assert "The engine at unix:///var/run/docker.sock does not answer." in text(person, "/nodes/")


def test_nodes_stand_below_their_group_with_what_is_wanted_and_what_was_seen(person: Client) -> None:
    first, second = deploy(replicas=2, queues=("reports", "mail")).nodes.order_by("id")
    observed(first, cpu_percent=40, memory_bytes=100 << 20, restarts=3, started_at=timezone.now() - timedelta(hours=2))
    nodes.act("stop", [second.id], "ada")
    page = text(person, "/nodes/")
    for words in ("1 of 1 ready", "reports, mail", "desired: stopped", "40 %", "100 MB", "2 h"):
        assert words in page


def test_the_list_takes_few_queries_however_many_there_are(person: Client, django_assert_max_num_queries: Any) -> None:
    for count in (1, 40):
        deploy(name=f"n{count}", replicas=count)
        with django_assert_max_num_queries(12):
            assert text(person, "/nodes/")


def test_the_list_is_filtered_by_status_and_saved_as_files(person: Client) -> None:
    observed(deploy().nodes.get())
    deploy(name="mail")
    assert 'data-announce="1 of 2 nodes ready"' in text(person, "/nodes/")
    page = text(person, "/nodes/", status="READY")
    assert ">reports</a>" in page
    assert ">mail</a>" not in page
    assert "No node has this status." in text(person, "/nodes/", status="FAILED")
    assert "reports" in person.get("/nodes/?format=csv").getvalue().decode()
    assert '"desired": "RUNNING"' in person.get("/nodes/?format=json").getvalue().decode()


def test_removed_nodes_are_still_found(person: Client) -> None:
    node = observed(deploy().nodes.get())
    nodes.remove_group(node.group_id, "ada")
    observed(node, NodeStatus.REMOVED, log_tail="the end", finished_at=timezone.now())
    assert f"/nodes/{node.id}/" not in text(person, "/nodes/")
    assert f"/nodes/{node.id}/" in text(person, "/nodes/", status="REMOVED")
    assert "the end" in text(person, f"/nodes/{node.id}/")
    assert "removed" in text(person, f"/nodes/groups/{node.group_id}/")


# --- Deploying and acting ---


FORM = {
    "name": "reports", "replicas": "2", "queues": "reports, mail", "concurrency": "4", "memory_mb": "256", "cpus": "0.5",
    "image": "zenith:latest", "host": "", "region": "", "labels": "", "environment": "APP_SHOP=eu\nAPP_EMPTY=\n",
    "secrets": "APP_KEY=a=b", "restart_policy": "always", "kind": "CONTAINERS",
}  # fmt: skip


def test_nodes_are_deployed_by_a_form(person: Client) -> None:
    host()
    assert 'value="zenith:latest"' in text(person, "/nodes/deploy/")
    answer = person.post("/nodes/deploy/", FORM, follow=True)
    assert answer.redirect_chain == [("/nodes/", 302)]
    assert "Deploying reports: 2 nodes." in answer.content.decode()
    group = NodeGroup.objects.get()
    assert (group.queues, group.environment, group.secrets) == (
        ["reports", "mail"],
        {"APP_SHOP": "eu", "APP_EMPTY": ""},
        {"APP_KEY": "a=b"},
    )
    assert (group.created_by, AuditEntry.objects.exclude(action="login").get().detail["replicas"]) == ("the-admin", 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Reports"}, "lower-case letters"),
        ({"image": "alpine"}, "is not allowed"),
        ({"environment": "SHOP"}, "there is no &#x27;=&#x27; in: SHOP"),
        ({"environment": "DATABASE_URL=x"}, "DATABASE_URL may not be set, whatever ZENITH_NODE_ENVIRONMENT allows"),
        ({"queues": "a b a"}, "is listed twice"),
        ({"cpus": "0"}, "must be between"),
        ({"kind": "SERVICE"}, "no host is a Swarm manager that is online"),
    ],
)
def test_what_cannot_be_deployed_is_said_beside_the_field(person: Client, changes: dict[str, str], words: str) -> None:
    host()
    answer = person.post("/nodes/deploy/", {**FORM, **changes})
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not NodeGroup.objects.exists()


def test_without_a_host_online_the_form_says_so(person: Client) -> None:
    answer = person.post("/nodes/deploy/", FORM)
    assert (answer.status_code, "No Docker host is online." in answer.content.decode()) == (422, True)


def test_acting_asks_first_and_names_the_count(person: Client) -> None:
    ids = [str(node.id) for node in deploy(replicas=3).nodes.all()]
    page = text(person, "/nodes/act/drain/", id=ids)
    assert "Drain 3 nodes" in page
    answer = person.post("/nodes/act/drain/", {"id": ids}, follow=True)
    assert "Drain requested for 3 nodes." in answer.content.decode()
    assert set(Node.objects.values_list("desired", flat=True)) == {Desired.DRAINED}
    assert AuditEntry.objects.exclude(action="login").get().detail == {"verb": "drain", "nodes": 3}
    again = person.get("/nodes/act/drain/", {"id": ids}, follow=True)
    assert "Drain is not possible for any of the selected nodes." in again.content.decode()


def test_one_node_is_named_in_the_question(person: Client) -> None:
    node = deploy().nodes.get()
    assert "Remove reports?" in text(person, "/nodes/act/remove/", id=node.id)


@pytest.mark.parametrize(
    "path",
    [
        "/nodes/act/explode/",
        "/nodes/act/stop/?id=x",
        "/nodes/hosts/nowhere/",
        f"/nodes/{UUID(int=1)}/",
        f"/nodes/{UUID(int=1)}/log/",
        f"/nodes/groups/{UUID(int=1)}/",
        f"/nodes/groups/{UUID(int=1)}/scale/",
    ],
)
def test_what_is_not_there_is_404(person: Client, path: str) -> None:
    assert person.get(path).status_code == 404


def test_who_may_only_look_is_offered_no_action() -> None:
    viewer = client_of("viewer")
    node = observed(deploy().nodes.get())
    for path in ("/nodes/", f"/nodes/{node.id}/", f"/nodes/groups/{node.group_id}/"):
        page = text(viewer, path)
        assert "/nodes/act/" not in page
        assert "/scale/" not in page
    assert viewer.get("/nodes/deploy/").status_code == 403
    assert viewer.post("/nodes/act/stop/", {"id": str(node.id)}).status_code == 403


# --- Groups and hosts ---


def test_a_group_is_scaled_changed_and_removed_from_its_page(person: Client) -> None:
    group = deploy()
    path = f"/nodes/groups/{group.id}/"
    assert 'value="1"' in text(person, f"{path}scale/")
    assert "1 → 3 nodes" in person.post(f"{path}scale/", {"replicas": "3"}, follow=True).content.decode()
    assert person.post(f"{path}scale/", {"replicas": "101"}).status_code == 422
    form = {"image": "zenith:latest", "queues": "default", "concurrency": "8", "memory_mb": "512", "cpus": "1.0"}
    assert "Its containers are being replaced." in person.post(f"{path}change/", form, follow=True).content.decode()
    group.refresh_from_db()
    assert (group.concurrency, group.nodes.first().revision) == (8, 2)  # type: ignore[union-attr]
    assert "Nothing was changed." in person.post(f"{path}change/", form, follow=True).content.decode()
    assert person.post(f"{path}change/", {**form, "image": "alpine"}).status_code == 422
    assert "Remove 3 nodes" in text(person, f"{path}remove/")
    assert "and its 3 nodes are being removed." in person.post(f"{path}remove/", follow=True).content.decode()
    assert person.post(f"{path}scale/", {"replicas": "1"}).status_code == 404


def test_a_group_is_told_to_follow_its_queue_and_the_page_says_what_was_decided(person: Client) -> None:
    group = deploy()
    path = f"/nodes/groups/{group.id}/"
    rules = {
        "autoscale": "on", "dry_run": "on", "scale_queue": "", "min_replicas": "1", "max_replicas": "4",
        "target_seconds": "60", "cooldown_seconds": "120",
    }  # fmt: skip
    assert "Autoscaling of reports is on." in person.post(f"{path}autoscale/", rules, follow=True).content.decode()
    assert "Nothing is decided yet." in text(person, path)
    NodeGroup.objects.update(decision="±0: nothing waiting, 1 of 1 slots busy.", decided_at=timezone.now())
    page = text(person, path)
    assert "±0: nothing waiting, 1 of 1 slots busy." in page
    assert "Dry run: nothing is changed." in page
    assert person.post(f"{path}autoscale/", {**rules, "min_replicas": "5"}).status_code == 422


def test_a_host_is_cordoned_and_labelled(person: Client) -> None:
    host("zen-01", region="eu")
    assert 'value="eu"' in text(person, "/nodes/hosts/zen-01/")
    person.post("/nodes/hosts/zen-01/", {"cordoned": "on", "region": "us", "labels": "disk=ssd"})
    found = Host.objects.get()
    assert (found.cordoned, found.region, found.labels) == (True, "us", {"disk": "ssd"})
    assert "cordoned" in text(person, "/nodes/")
    assert person.post("/nodes/hosts/zen-01/", {"region": "a b"}).status_code == 422


# --- One node and its log ---


def test_a_node_shows_its_figures_tasks_events_and_masked_environment(person: Client, django_assert_max_num_queries: Any) -> None:
    group = deploy(environment={"APP_TOKEN": "s3cret", "APP_SHOP": "eu"}, secrets={"APP_SMTP": "s3cret"})
    node = observed(group.nodes.get(), container_id="c" * 64)
    (task_id,) = dispatch(Dispatch(task="analyze_text", data=["x"]), Origin(source="api")).ids
    Task.objects.filter(id=task_id).update(worker=node.worker)
    for age in range(3):
        NodeSample.objects.create(
            node=node, at=timezone.now() - timedelta(minutes=age), cpu_percent=20 + age, memory_bytes=(90 + age) << 20,
            network_rx_bytes=9000 - age * 3000, network_tx_bytes=0,
        )  # fmt: skip
    with django_assert_max_num_queries(16):
        page = text(person, f"/nodes/{node.id}/")
    assert f"/tasks/{task_id}/" in page
    assert "CPU from" in page
    assert "at most 22 %" in page
    assert "APP_TOKEN=***" in page
    assert "APP_SHOP=eu" in page
    assert "SMTP=*** (secret)" in page
    assert "s3cret" not in page
    assert "deployed by ada" in page
    assert "Not passed to its nodes" not in page
    NodeGroup.objects.update(environment={"PYTHONWARNINGS": "x"})
    assert all(
        "Not passed to its nodes: PYTHONWARNINGS may not be set" in text(person, path)
        for path in (f"/nodes/{node.id}/", f"/nodes/groups/{group.id}/")
    )


def test_the_log_is_read_on_in_pieces_with_levels_and_without_secrets(person: Client) -> None:
    node = observed(deploy().nodes.get())
    path = f"/nodes/{node.id}/log/"
    assert "the first lines take a moment" in text(person, path)
    texts = [f"[ERROR] <{number}> password=s3cret" for number in range(150)]
    log_stream.append(node.id, [Line("2026-01-01T10:00:00Z", "stdout", text) for text in texts])
    piece = person.get(path, {"after": ""})
    page = piece.content.decode()
    assert page.count('<ol class="log-block">') == 2
    assert page.count('class="log-error"') == 150
    assert "&lt;149&gt; password=***" in page
    assert "10:00:00" in page
    after = piece.headers["X-Log-After"]
    assert person.get(path, {"after": after}).content.decode().strip() == ""
    log_stream.append(node.id, [Line("", "stderr", "[DEBUG] more")])
    assert 'class="log-debug"' in person.get(path, {"after": after}).content.decode()
    assert person.get(path, {"after": "nonsense"}).status_code == 404


def test_the_log_is_searched_without_script_and_downloaded(person: Client) -> None:
    node = observed(deploy().nodes.get())
    path, at = f"/nodes/{node.id}/log/", "2026-01-01T00:00:00Z"
    log_stream.append(node.id, [Line(at, "stdout", word) for word in ("apple", "Banana")])
    page = text(person, path, q="BAN")
    assert "Banana" in page
    assert "apple" not in page
    assert "No line contains this text." in text(person, path, q="cherry")
    answer = person.get(path, {"format": "text"})
    assert answer.content.decode() == f"{at} apple\n{at} Banana\n"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="reports.log"'


def test_without_redis_the_node_is_shown_all_the_same(person: Client, settings: Any) -> None:
    node = observed(deploy().nodes.get())
    settings.ZENITH_REDIS_URL = "redis://127.0.0.1:1/0"
    log_stream._client.cache_clear()
    try:
        page = text(person, f"/nodes/{node.id}/")
    finally:
        log_stream._client.cache_clear()
    assert "It appears once Redis is reachable again." in page


# --- What hosts hold ---


def test_the_inventory_marks_what_dangles_and_says_who_uses_what(person: Client, django_assert_max_num_queries: Any) -> None:
    assert "No inventory yet" in text(person, "/inventory/")
    snapshot(host("zen-01"), **HELD)
    with django_assert_max_num_queries(10):
        page = text(person, "/inventory/")
    assert page.count("dangling</span>") == 1
    assert "7 B dangling" in page
    assert "172.18.0.0/16" in page
    assert "reports 172.18.0.5" in page
    assert "observed" in page


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"kind": "image"}, {"a" * 12, "zenith:latest"}),
        ({"use": "dangling"}, {"a" * 12}),
        ({"q": "172.18"}, {"zenith"}),
        ({"q": "DATA", "kind": "volume"}, {"data"}),
        ({"host": "zen-02"}, set()),
        ({"kind": "nonsense", "use": "nonsense"}, {"reports", "a" * 12, "zenith:latest", "data", "zenith"}),
    ],
)
def test_the_inventory_is_filtered(person: Client, query: dict[str, str], names: set[str]) -> None:
    snapshot(host("zen-01"), **HELD)
    rows = person.get("/inventory/", {**query, "format": "json"}).getvalue().decode()  # type: ignore[attr-defined]
    assert {row["name"] for row in json.loads(rows)} == names
    assert person.get("/inventory/", query).status_code == 200


def test_a_container_that_is_a_node_leads_to_it(person: Client) -> None:
    node = observed(deploy().nodes.get())
    held = {**HELD, "containers": [{**HELD["containers"][0], "node_id": str(node.id)}]}
    snapshot(host("zen-01"), **held)
    assert f"/nodes/{node.id}/" in text(person, "/inventory/")


def test_the_network_is_drawn_and_told(person: Client, django_assert_max_num_queries: Any) -> None:
    assert "No containers yet" in text(person, "/network/")
    snapshot(host("zen-01"), **HELD)
    snapshot(host("zen-02"), containers=[])
    with django_assert_max_num_queries(10):
        page = text(person, "/network/")
    assert "1 container in 1 network on zen-01" in page
    assert "127.0.0.1:8080 → 80/tcp" in page
    assert "All hosts" in page
    assert "it has no containers" in text(person, "/network/", host="zen-02")
    assert "172.18.0.5" in person.get("/network/?format=csv").getvalue().decode()


OWN = [
    {"id": name, "name": name, "driver": name, "internal": False, "subnets": [], "gateway": None, "members": []}
    for name in ("none", "host", "bridge")
]  # fmt: skip


def test_dockers_own_networks_are_folded_away_while_nothing_uses_them(person: Client) -> None:
    snapshot(host("zen-01"), **{**HELD, "networks": [*HELD["networks"], *OWN]})
    listed, _, folded = text(person, "/network/").partition('<details id="own-networks"')
    row = '<td class="mono nowrap">bridge</td>'
    assert row not in listed
    assert "own networks, unused" in folded
    assert row in folded
    inventory = text(person, "/inventory/")
    assert ">bridge<" not in inventory
    assert "own networks<" in inventory
    assert ">bridge<" in text(person, "/inventory/", kind="network")


@pytest.mark.parametrize("path", ["/inventory/", "/network/"])
def test_nobody_is_asked_to_start_an_agent_that_runs(person: Client, path: str) -> None:
    assert "Start one with manage.py run_agent" in text(person, path)
    host("zen-01")
    page = text(person, path)
    assert "Start one with manage.py run_agent" not in page
    assert "An agent runs." in page


@pytest.mark.parametrize("path", ["/nodes/", "/inventory/", "/network/"])
def test_what_docker_hosts_hold_is_one_entry_with_tabs(person: Client, path: str) -> None:
    page = text(person, path)
    tabs = page.partition("page-tabs")[2].partition("</nav>")[0]
    assert re.findall(r'href="([^"]+)"', tabs) == ["/nodes/", "/inventory/", "/network/"]
    assert re.findall(r'href="([^"]+)" aria-current="page"', tabs) == [path]
    navigation = page.partition('<nav class="nav"')[2].partition("</nav>")[0]
    assert re.findall(r'<li hidden>\s*<a href="([^"]+)"', navigation) == ["/inventory/", "/network/"]
    assert re.search(r'href="/nodes/"\s+aria-current', navigation)
