"""`/api/v1/dead-letters`: groups, pages by key, one in full, replay and discard, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client

from tasks_app.models import DeadLetter, ReplayRun, Task
from tests.failures import fail, queued
from tests.integration.conftest import ApiClient

PATH = "/api/v1/dead-letters"
#: The id of no task.
UNKNOWN = "0192f000-0000-7000-8000-000000000000"
FIELDS = [
    "task_id", "application", "task_type", "queue", "group", "error_type", "error_message", "frame", "attempts", "created_at",
    "state", "resolved_at", "resolved_by", "note", "replayed_by",
]  # fmt: skip


@pytest.fixture
def reader(api: ApiClient) -> Client:
    return api("read")


@pytest.fixture
def writer(api: ApiClient) -> Client:
    return api("operate")


def post(client: Client, path: str, body: Any) -> Any:
    return client.post(PATH + path, data=json.dumps(body), content_type="application/json")


def culprits(response: Any) -> list[str]:
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    return [item.get("pointer", item.get("parameter")) for item in response.json()["errors"]]


def states() -> list[str]:
    return list(DeadLetter.objects.order_by("id").values_list("state", flat=True))


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_the_list_shows_each_letter_newest_first(reader: Client) -> None:
    first, second = fail(message="order 7 is gone"), fail()
    replayed = queued(replay_of=first)
    answer = reader.get(PATH).json()
    assert [item["task_id"] for item in answer] == [str(second.id), str(first.id)]
    assert [list(item) for item in answer] == [FIELDS] * 2
    letter = DeadLetter.objects.get(task=first)
    assert answer[1] == {
        "task_id": str(first.id), "application": "zenith", "task_type": "analyze_text", "queue": "default",
        "group": letter.fingerprint,
        "error_type": "CardError", "error_message": "order 7 is gone", "frame": "billing/tasks.py charge", "attempts": 1,
        "created_at": answer[1]["created_at"], "state": "OPEN", "resolved_at": None, "resolved_by": None, "note": "",
        "replayed_by": [str(replayed.id)],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 3), ("state=OPEN", 2), ("state=DISCARDED", 1), ("task=drill_fail", 1), ("error=CardError", 2), ("group=GROUP", 2),
     ("state=&task=&error=&group=&cursor=0", 3), ("task=nothing", 0)],
)  # fmt: skip
def test_the_filters_find(reader: Client, writer: Client, query: str, count: int) -> None:
    card, other = fail(), fail(name="drill_fail", error="ValueError")
    fail()
    post(writer, "/discard", {"ids": [str(other.id)]})
    query = query.replace("GROUP", DeadLetter.objects.get(task=card).fingerprint)
    assert len(reader.get(f"{PATH}?{query}").json()) == count


@pytest.mark.parametrize(("path", "key"), [("", "task_id"), ("/groups", "group")])
def test_following_the_links_shows_each_once(reader: Client, path: str, key: str) -> None:
    for number in range(5):
        fail(error=f"Error{number}", queue="payments")
    listed, address = [], f"{PATH}{path}?limit=2&state=OPEN"
    while address:
        response = reader.get(address)
        listed += [item[key] for item in response.json()]
        link = re.fullmatch(r'<http://testserver(.+)>; rel="next"', response.headers.get("Link", ""))
        address = link[1] if link else ""
        assert not address or "state=OPEN" in address
    letters = DeadLetter.objects.order_by("-id")
    assert listed == [str(letter.task_id) if key == "task_id" else letter.fingerprint for letter in letters]


def test_groups_say_what_their_failures_have_in_common(reader: Client) -> None:
    fail(message="order 7 is gone")
    fail(message="order 8 is gone")
    (group,) = reader.get(f"{PATH}/groups").json()
    letters = list(DeadLetter.objects.order_by("id"))
    assert group.pop("first_at") <= group.pop("last_at")
    assert group == {
        "group": letters[0].fingerprint, "application": "zenith", "task_type": "analyze_text", "error_type": "CardError",
        "message": "order <n> is gone", "frame": "billing/tasks.py charge", "count": 2, "open": 2,
    }  # fmt: skip


def test_one_letter_is_shown_in_full(reader: Client) -> None:
    origin = fail()
    dead = fail(args=["a text"], kwargs={"x": 1}, replay_of=origin)
    answer = reader.get(f"{PATH}/{dead.id}").json()
    assert list(answer) == [*FIELDS, "replay_of", "args", "kwargs", "traceback"]
    assert (answer["args"], answer["kwargs"], answer["replay_of"]) == (["a text"], {"x": 1}, str(origin.id))
    assert "in charge" in answer["traceback"]


@pytest.mark.parametrize("id_", [UNKNOWN, "nonsense", "%00", "x" * 300])
def test_an_unknown_letter_or_run_is_404(reader: Client, id_: str) -> None:
    for path in (f"{PATH}/{id_}", f"{PATH}/runs/{id_}"):
        response = reader.get(path)
        assert response.status_code == 404
        assert response.headers["Content-Type"] == "application/problem+json"


def test_a_task_that_did_not_fail_has_no_letter(reader: Client) -> None:
    assert reader.get(f"{PATH}/{queued().id}").status_code == 404


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=x", "cursor"), ("cursor=-1", "cursor"),
     ("cursor=" + "9" * 30, "cursor"), ("state=DEAD", "state"), ("task=%00", "task"), ("group=" + "x" * 601, "group"),
     ("stat=OPEN", "stat")],
)  # fmt: skip
@pytest.mark.parametrize("path", ["", "/groups"])
def test_a_bad_parameter_is_named(reader: Client, path: str, query: str, parameter: str) -> None:
    assert culprits(reader.get(f"{PATH}{path}?{query}")) == [parameter]


@pytest.mark.parametrize(("path", "queries"), [("", 3), ("/groups", 2), ("/ONE", 4)])
@pytest.mark.parametrize("count", [1, 20])
def test_the_number_of_queries_does_not_grow(
    reader: Client, path: str, queries: int, count: int, django_assert_num_queries: Any
) -> None:
    for _ in range(count):
        queued(replay_of=fail())
    path = path.replace("ONE", str(DeadLetter.objects.order_by("id")[0].task_id))
    reader.get(PATH + path)  # notes that the token was used
    with django_assert_num_queries(queries):
        assert reader.get(PATH + path).status_code == 200


# --- Replaying --------------------------------------------------------------------------------------------------------


def test_a_replay_answers_with_the_new_tasks(writer: Client) -> None:
    dead, _ = fail(), fail()
    response = post(writer, "/replay", {"ids": [str(dead.id)], "kwargs": {"data": "new"}})
    new = Task.objects.get(replay_of=dead)
    assert response.status_code == 200
    assert response.json() == {
        "replayed": 1, "passed_over": 0, "tasks": [{"task_id": str(new.id), "replay_of": str(dead.id)}], "run": None,
    }  # fmt: skip
    assert (new.args, new.source) == (["new"], "api")
    assert states() == ["REPLAYED", "OPEN"]


@pytest.mark.parametrize("body", [{"group": "GROUP"}, {"all": True, "error": "CardError"}, {"all": True, "task": "analyze_text"}])
def test_a_group_or_a_filter_is_replayed(writer: Client, body: dict[str, Any]) -> None:
    card, _, _ = fail(), fail(), fail(name="drill_fail", error="ValueError")
    if "group" in body:
        body = {"group": DeadLetter.objects.get(task=card).fingerprint}
    assert post(writer, "/replay", body).json()["replayed"] == 2
    assert states() == ["REPLAYED", "REPLAYED", "OPEN"]


def test_the_same_replay_again_is_a_conflict_unless_forced(writer: Client) -> None:
    body = {"ids": [str(fail().id)]}
    assert post(writer, "/replay", body).status_code == 200
    response = post(writer, "/replay", body)
    assert response.status_code == 409
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "forced" in response.json()["detail"]
    assert post(writer, "/replay", {**body, "forced": True}).status_code == 200


def test_of_several_ids_those_decided_about_are_passed_over(writer: Client) -> None:
    first, second = fail(), fail()
    post(writer, "/replay", {"ids": [str(first.id)]})
    answer = post(writer, "/replay", {"ids": [str(first.id), str(second.id), str(second.id)]}).json()
    assert (answer["replayed"], answer["passed_over"]) == (1, 1)


def test_a_few_first_is_a_run_that_can_be_watched_and_stopped(reader: Client, writer: Client) -> None:
    fail(), fail()
    run = post(writer, "/replay", {"all": True, "first": 1, "rate": 5}).json()["run"]
    assert (run["state"], run["total"], run["replayed"], run["first"], run["rate"]) == ("RUNNING", 2, 0, 1, 5.0)
    assert reader.get(f"{PATH}/runs/{run['run_id']}").json() == run
    stopped = post(writer, f"/runs/{run['run_id']}/stop", None)
    assert (stopped.status_code, stopped.json()["state"]) == (200, "STOPPED")
    assert post(writer, f"/runs/{run['run_id']}/stop", None).status_code == 409
    assert ReplayRun.objects.get().sent_by.startswith("token test (zen_")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, [""]),
        ({"all": True, "group": "x"}, [""]),
        ({"all": False}, [""]),
        ({"ids": []}, ["/ids"]),
        ({"ids": ["nonsense"]}, ["/ids/0"]),
        ({"ids": [7]}, ["/ids/0"]),
        ({"ids": ["ID", UNKNOWN]}, ["/ids/1"]),
        ({"ids": [UNKNOWN] * 1001}, ["/ids"]),
        ({"group": ""}, ["/group"]),
        ({"all": "yes"}, ["/all"]),
        ({"all": True, "task": "\x00"}, ["/task"]),
        ({"all": True, "first": -1}, ["/first"]),
        ({"all": True, "rate": 0}, ["/rate"]),
        ({"all": True, "rate": "fast"}, ["/rate"]),
        ({"all": True, "kwargs": {"text": "x"}}, ["/kwargs/text"]),
        ({"all": True, "kwargs": [1]}, ["/kwargs"]),
        ({"all": True, "stuff": 1}, ["/stuff"]),
        ([], [""]),
    ],
)
def test_a_replay_that_cannot_be_is_refused_with_a_pointer(writer: Client, body: Any, pointers: list[str]) -> None:
    dead = fail()
    body = json.loads(json.dumps(body).replace("ID", str(dead.id)))
    assert culprits(post(writer, "/replay", body)) == pointers
    assert states() == ["OPEN"]


# --- Discarding -------------------------------------------------------------------------------------------------------


def test_discarding_takes_a_note(reader: Client, writer: Client) -> None:
    dead = fail()
    response = post(writer, "/discard", {"ids": [str(dead.id)], "note": "known"})
    assert (response.status_code, response.json()) == (200, {"discarded": 1})
    answer = reader.get(f"{PATH}/{dead.id}").json()
    assert (answer["state"], answer["note"]) == ("DISCARDED", "known")
    assert answer["resolved_by"].startswith("token test (zen_")
    assert post(writer, "/discard", {"ids": [str(dead.id)]}).status_code == 409


@pytest.mark.parametrize("note", ["x" * 2001, "\x00", 7])
def test_a_bad_note_is_refused(writer: Client, note: Any) -> None:
    fail()
    assert culprits(post(writer, "/discard", {"all": True, "note": note})) == ["/note"]
    assert states() == ["OPEN"]


# --- Who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/replay", "/discard", f"/runs/{UNKNOWN}/stop"])
def test_deciding_takes_the_permission_to_operate(api: ApiClient, member: Any, path: str) -> None:
    fail()
    body = None if path.endswith("stop") else {"all": True}
    assert post(Client(), path, body).status_code == 401
    assert post(api("read"), path, body).status_code == 403
    assert post(api("operate", user=member), path, body).status_code == 403
    assert states() == ["OPEN"]


def test_anyone_who_may_look_at_tasks_may_look_at_dead_ones(api: ApiClient, member: Any) -> None:
    dead = fail()
    for path in ("", "/groups", f"/{dead.id}"):
        assert api("read", user=member).get(PATH + path).status_code == 200
        assert Client().get(PATH + path).status_code == 401
