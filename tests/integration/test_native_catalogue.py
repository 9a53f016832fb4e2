"""Zenith's own tasks that only workers have: they are dispatched by what the workers told, without their code."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_app import catalog, doctor
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.publish import publish_due
from tasks_app.dispatch.replay import Replay, replay
from tasks_app.dispatch.rerun import run_again
from tasks_app.errors import DrillsOffError, InvalidDispatchError
from tasks_app.maintenance import catalogues as engine
from tasks_app.models import Catalogue, DeadLetter, Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.dead_letter import Selection
from tasks_app.queries.arguments import shown_arguments
from tests import stack as stacks
from tests.broker import messages
from tests.integration.conftest import ApiClient
from tests.integration.test_catalogues import aged, attached, beat, parameter, take_in, task, text
from tests.integration.test_catalogues import told as told_by
from tests.stack import Stack
from tests.waiting import eventually
from zenith_site.common import faults
from zenith_site.common.masking import MASK
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.headers import MAX_RETRIES_HEADER
from zenith_worker.wire.keys import CATALOGUE, NATIVE
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

API = Origin(source="api")
JSON = {"content_type": "application/json"}
PACK = task(parameter("order", {"type": "integer"}), doc="Pack.", queue="parcels", ignore_result=True, time_limit=90)


def told(host: str = "a", **tasks: Any) -> str:
    """Let a worker of Zenith's own tell tasks; return its catalogue's digest."""
    digest = told_by(NATIVE, {f"depot.{name}": described for name, described in tasks.items()}, host)
    take_in()
    return digest


def refused(**request: Any) -> dict[str, str]:
    with pytest.raises(InvalidDispatchError) as caught:
        dispatch(Dispatch(**request), API)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


# --- Without a worker's process ---


@pytest.fixture
def empty() -> None:
    redis_client().flushdb()


@pytest.mark.usefixtures("empty")
def test_what_this_process_has_is_read_from_its_code_and_the_rest_as_it_was_told(django_assert_num_queries: Any) -> None:
    told_by(NATIVE, {"depot.pack": PACK, "analyze_text": task(parameter("other"))})
    take_in()
    row = Catalogue.objects.get()
    assert (row.application_id, row.left_out, row.tasks["depot.pack"]) == (NATIVE_ID, 0, PACK)
    with django_assert_num_queries(0):
        assert catalog.get("analyze_text").positional_names == ["data"]
    with django_assert_num_queries(1):
        every = [(id_, entry.name) for id_, entry in catalog.every_entry()]
        assert len(every) == len(set(every)) == len(catalog.offered())
        assert {"analyze_text", "depot.pack"} < set(catalog.offered())
        assert list(catalog.offered()) == sorted(catalog.offered())
        assert (catalog.get("depot.pack").queue, catalog.get("depot.pack").versions) == ("parcels", 1)


@pytest.mark.usefixtures("empty")
def test_a_message_is_what_it_would_be_with_the_tasks_code() -> None:
    told(pack=PACK, plain=task(max_retries=None))
    dispatch(Dispatch(task="depot.pack", data=[1, 2]), API)
    first, second = messages("parcels")
    assert (first.args, second.args) == ([1], [2])
    assert first.headers["ignore_result"] is True
    assert first.headers["timelimit"] == [90, pytest.approx(85.5)]
    assert first.headers[MAX_RETRIES_HEADER] == 3
    dispatch(Dispatch(task="depot.pack", data=3, time_limit=7), API)
    assert messages("parcels")[-1].headers["timelimit"][0] == 7
    # Its queue was not told.
    dispatch(Dispatch(task="depot.plain"), API)
    (plain,) = messages()
    assert (plain.headers["ignore_result"], plain.headers["timelimit"]) == (False, [None, None])
    assert MAX_RETRIES_HEADER not in plain.headers
    told("b", pack={**PACK, "time_limit": 30})
    dispatch(Dispatch(task="depot.pack", data=4), API)
    assert messages("parcels")[-1].headers["timelimit"][0] == 30, "the newest counts, also for what was sent before"


@pytest.mark.usefixtures("empty")
def test_a_repeated_message_of_another_program_gets_nothing_that_it_did_not_have() -> None:
    told(pack=PACK)
    (id_,) = dispatch(Dispatch(task="depot.pack", data=1), API).ids
    redis_client().delete("parcels")
    Task.objects.filter(id=id_).update(source="external", status=Status.PENDING)
    publish_due()
    (message,) = messages("parcels")
    assert (message.headers["ignore_result"], message.headers["timelimit"]) == (False, [None, None])


@pytest.mark.usefixtures("empty")
def test_what_is_wrong_with_a_dispatch_is_said() -> None:
    told(pack=PACK, astray=task(queue="zenith:events"))
    assert refused(task="depot.pack", data="x") == {"/data": "must be of the type integer"}
    assert list(refused(task="depot.pack", kwargs={"order": 1, "box": 2})) == ["/kwargs/box"]
    assert list(refused(task="depot.astray")) == ["/queue"]
    assert "there is no task 'depot.unpack'; tasks are: analyze_text" in refused(task="depot.unpack")["/task"]
    assert not Task.objects.exists()


@pytest.mark.usefixtures("empty")
def test_a_task_is_known_while_workers_that_live_have_it_and_until_others_come() -> None:
    assert "/task" in refused(task="depot.pack")
    old = told(pack=PACK)
    aged(**{old: 3600})
    assert catalog.get("depot.pack").versions == 0, "while none is online, what was told last counts"
    told(other=task())
    assert "/task" in refused(task="depot.pack")
    assert "depot.other" in catalog.offered()


@pytest.mark.usefixtures("empty")
def test_a_drill_that_was_told_is_one(settings: Any) -> None:
    told(crash=task(drill=True))
    (id_,) = dispatch(Dispatch(task="depot.crash"), API).ids
    Task.objects.filter(id=id_).update(status=Status.SUCCESS, finished_at=timezone.now())
    settings.ZENITH_DRILLS = False
    assert "depot.crash" not in catalog.offered()
    with pytest.raises(DrillsOffError):
        dispatch(Dispatch(task="depot.crash"), API)
    with pytest.raises(DrillsOffError):
        run_again(id_, API)


@pytest.mark.usefixtures("empty")
def test_positional_arguments_with_a_secrets_name_are_masked() -> None:
    told(login=task(parameter("user"), parameter("password")))
    row = Task(name="depot.login", application_id=NATIVE_ID, args=["ann", "hunter2"], kwargs={})
    assert shown_arguments(row).args == ["ann", MASK]


@pytest.mark.usefixtures("empty")
def test_a_key_of_another_type_costs_no_other_application_its_catalogue() -> None:
    shop = attached("shop")
    redis_client().set(CATALOGUE, "text")
    beat(NATIVE, "d1")
    told_by("shop", {"shop.charge": task()})
    engine.take_in()
    assert Catalogue.objects.get().application == shop
    assert [fault.part for fault in faults.recent()] == ["reconciler"]


@pytest.mark.usefixtures("empty")
def test_the_form_says_so_if_no_worker_or_several_versions_have_the_task(person: Client) -> None:
    old = told(pack=PACK)
    page = "/dispatch/?task=depot.pack"
    assert "as during a deploy" not in text(person, page)
    told("b", pack={**PACK, "doc": "Pack carefully."})
    assert "2 versions of this task are running" in text(person, page)
    Catalogue.objects.exclude(digest=old).delete()
    aged(**{old: 3600})
    assert "No worker that has this task is online." in text(person, page)


@pytest.mark.usefixtures("empty")
def test_doctor_finds_a_told_time_limit_beyond_the_redelivery_of_messages() -> None:
    told(pack=PACK)
    assert list(doctor.told_tasks()) == []
    told(pack={**PACK, "time_limit": 10**6})
    (finding,) = doctor.told_tasks()
    assert "tasks of up to 1,000,000 s may run twice" in finding.what


# --- With a worker's process ---


@pytest.fixture(scope="module")
def module_stack(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    for stack in stacks.running(tmp_path_factory.mktemp("catalogue")):
        stack.engine()
        stack.worker("one@catalogue", ZENITH_TASK_MODULES="tests.advertised_tasks")
        yield stack


@pytest.fixture
def stack(transactional_db: None, module_stack: Stack) -> Iterator[Stack]:
    eventually(lambda: "advertised.ship" in catalog.offered(), within=30, but=module_stack.news)
    yield from stacks.settling(module_stack)


def ended(id_: UUID, status: Status) -> Task:
    eventually(lambda: Task.objects.filter(id=id_, status=status).exists(), within=30, but=lambda: Task.objects.values())
    return Task.objects.get(id=id_)


@pytest.mark.usefixtures("stack")
def test_a_task_of_which_this_process_has_no_code_is_dispatched_and_run(person: Client, api: ApiClient) -> None:
    assert "tests.advertised_tasks" not in sys.modules
    form = text(person, "/dispatch/?task=advertised.ship")
    assert "Ship an order." in form
    assert all(f'name="arg-{name}"' in form for name in ("order", "speed", "password"))
    response = person.post("/dispatch/", {"task": "advertised.ship", "arg-order": "7", "arg-speed": '"fast"'})
    assert response.status_code == 302, response.content
    first = ended(Task.objects.get().id, Status.SUCCESS)
    assert (first.queue, first.max_retries, first.source, first.kwargs) == ("default", 2, "page", {"order": 7, "speed": "fast"})

    client = api("dispatch", "read", "operate")
    bad = client.post("/tasks/trigger", {"task": "advertised.ship", "data": "x", "kwargs": {"speed": "slower"}}, **JSON)
    assert bad.status_code == 422
    assert {problem["pointer"] for problem in bad.json()["errors"]} == {"/data", "/kwargs/speed"}
    shown = client.get("/api/v1/catalogue/advertised.ship").json()
    assert (shown["queue"], shown["max_retries"], shown["versions"]) == ("default", 2, 1)

    second = ended(UUID(str(run_again(first.id, API))), Status.SUCCESS)
    assert (second.kwargs, second.replay_of_id) == (first.kwargs, first.id)
    call_command("dispatch", "advertised.ship", "--data", "8", stdout=io.StringIO())
    ended(Task.objects.exclude(id__in=[first.id, second.id]).get().id, Status.SUCCESS)


@pytest.mark.usefixtures("stack")
def test_an_engine_sends_it_with_its_time_limits_and_replays_it() -> None:
    soon = timezone.now() + timedelta(seconds=1)
    (scheduled,) = dispatch(Dispatch(task="advertised.limits", not_before=soon), API).ids
    (failing,) = dispatch(Dispatch(task="advertised.break_down", data="wheel", max_retries=0), API).ids
    ended(scheduled, Status.SUCCESS)
    eventually(lambda: TaskResult.objects.filter(task_id=str(scheduled)).exists())
    assert TaskResult.objects.get(task_id=str(scheduled)).result == "[50, 47.5]"
    ended(failing, Status.FAILURE)
    eventually(lambda: DeadLetter.objects.filter(task_id=failing).exists())
    (replaced,) = replay(Replay(selection=Selection(task_ids=[failing]), kwargs={"part": "mast"}), API).done
    assert ended(replaced.new, Status.FAILURE).args == ["mast"]
