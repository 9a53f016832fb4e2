"""Commands to an attached application: handed over once, carried out by living workers, confirmed all or nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
import redis

from zenith_worker.wire import catalogues, commands
from zenith_worker.wire.client import client, text
from zenith_worker.wire.commands import Kind
from zenith_worker.wire.events import Event, decode
from zenith_worker.wire.keys import application_keys
from zenith_worker.wire.states import Status

KEYS = application_keys("shop")


@pytest.fixture(autouse=True)
def empty_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    client().flushdb()
    monkeypatch.setattr(commands, "IDLE_AT_LEAST", 0.0)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this process stand for a run of a worker, with a heartbeat or without."""

    def become(name: str, *, alive: bool = True) -> None:
        monkeypatch.setattr(commands, "instance", lambda: name)
        if alive:
            client().set(KEYS.alive + name, "w@tests", ex=60)
        else:
            client().delete(KEYS.alive + name)

    become("one")
    return become


def body(id_: str) -> dict[str, object]:
    return {"id": id_, "task": "shop.add", "args": [1, 2], "kwargs": {}, "options": {}}


def queued(id_: str) -> Event:
    return Event(task_id=id_, status=Status.QUEUED, at=time.time())


def ids(found: list[commands.Command]) -> list[object]:
    return [command.body.get("id") for command in found]


def test_a_task_is_handed_over_once_also_after_it_was_confirmed(worker: Callable[..., None]) -> None:
    assert commands.hand_over("shop", [body("1"), body("2"), body("1")]) == 2
    assert commands.hand_over("shop", [body("2"), body("3")]) == 1
    assert commands.waiting("shop") == 3
    found = commands.read("shop", count=10)
    assert ids(found) == ["1", "2", "3"]
    assert found[0].kind == Kind.SEND
    assert found[0].body == body("1")
    commands.confirm("shop", found, [queued("1"), queued("2"), queued("3")])
    assert (commands.waiting("shop"), commands.read("shop", count=10, again=True)) == (0, [])
    assert commands.hand_over("shop", [body("1"), body("2"), body("3"), body("4")]) == 1
    # Also if the server that hands it over is late, but not for ever.
    client().zadd(KEYS.handed, {"1": time.time() - commands.HANDED_KEPT - 10})
    assert commands.hand_over("shop", [body("1"), body("2")]) == 1


def test_what_was_lost_with_the_stream_is_handed_over_again(worker: Callable[..., None]) -> None:
    commands.hand_over("shop", [body("1"), body("2")])
    (first, _) = commands.read("shop", count=10)
    commands.confirm("shop", [first], [queued("1")])
    client().delete(KEYS.commands)
    with pytest.raises(redis.ResponseError, match=r"^NOGROUP"):
        commands.read("shop", count=10)
    assert commands.hand_over("shop", [body("1"), body("2")]) == 1
    assert ids(commands.read("shop", count=10)) == ["2"]


def test_only_a_dead_workers_commands_are_taken_over(worker: Callable[..., None]) -> None:
    commands.hand_over("shop", [body("1"), body("2"), body("3")])
    assert ids(commands.read("shop", count=2)) == ["1", "2"]
    worker("two")
    assert ids(commands.read("shop", count=2)) == ["3"]
    assert commands.take_over("shop", count=10) == []
    worker("one", alive=False)
    worker("two")
    assert ids(commands.take_over("shop", count=1)) == ["1"]
    assert ids(commands.take_over("shop", count=10)) == ["2"]
    assert ids(commands.read("shop", count=10, again=True)) == ["1", "2", "3"]
    assert commands.take_over("shop", count=10) == []


def test_of_two_workers_that_look_at_once_one_takes_over(worker: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    commands.hand_over("shop", [body("1")])
    (read,) = commands.read("shop", count=1)
    worker("one", alive=False)
    worker("two")
    monkeypatch.setattr(commands, "IDLE_AT_LEAST", 60.0)
    assert commands.take_over("shop", count=10) == [], "it was read just now"
    client().xclaim(KEYS.commands, commands.GROUP, "one", 0, [read.id], idle=60_000)
    pending = client().xpending_range
    taken: list[commands.Command] = []

    def as_the_other_looks(*arguments: object, **options: object) -> object:
        found = pending(*arguments, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(client(), "xpending_range", pending)
        worker("three")
        taken.extend(commands.take_over("shop", count=10))
        worker("two")
        return found

    monkeypatch.setattr(client(), "xpending_range", as_the_other_looks)
    assert commands.take_over("shop", count=10) == []
    assert ids(taken) == ["1"]


def test_runs_of_workers_that_are_over_are_forgotten_unless_they_left_something(worker: Callable[..., None]) -> None:
    assert commands.forget_gone_workers("shop") == 0, "nothing was ever asked for"
    commands.hand_over("shop", [body(id_) for id_ in "abc"])
    for name, alive, confirms in (("left", False, False), ("gone", False, True), ("there", True, True)):
        worker(name)
        found = commands.read("shop", count=1)
        if confirms:
            commands.confirm("shop", found, [])
        worker(name, alive=alive)
    assert commands.forget_gone_workers("shop") == 1
    names = {consumer["name"] for consumer in client().xinfo_consumers(KEYS.commands, commands.GROUP)}
    assert {text(name) for name in names} == {"left", "there"}


def test_what_was_removed_meanwhile_is_not_taken_over(worker: Callable[..., None]) -> None:
    commands.hand_over("shop", [body("1"), body("2")])
    (first, _) = commands.read("shop", count=10)
    client().xdel(KEYS.commands, first.id)
    worker("one", alive=False)
    worker("two")
    assert ids(commands.take_over("shop", count=10)) == ["2"]


def test_a_confirmation_reports_and_removes_in_one(worker: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    commands.hand_over("shop", [body("1")])
    commands.ask("shop", Kind.REVOKE, {"ids": ["9"]})
    found = commands.read("shop", count=10)
    with monkeypatch.context() as broken:
        broken.setattr(commands, "encode", lambda _: object())
        with pytest.raises(redis.DataError):
            commands.confirm("shop", found, [queued("1")])
    assert commands.read("shop", count=10, again=True) == found
    assert not client().exists(KEYS.events)
    commands.confirm("shop", found, [queued("1")])
    ((_, entry),) = client().xrange(KEYS.events)
    assert [event.task_id for event in decode(entry[b"e"])] == ["1"]
    assert commands.waiting("shop") == 0
    assert client().zrange(KEYS.handed, 0, -1) == [b"1"], "a revocation hands nothing over"


@pytest.mark.parametrize("written", [b"", b"[1]", b"{", b"\xff", b"null", b'{"kind": 7, "id": 3}'])
def test_a_command_that_nobody_could_have_written_is_read_and_removed(worker: Callable[..., None], written: bytes) -> None:
    commands.hand_over("shop", [])
    client().xadd(KEYS.commands, {"c": written})
    client().xadd(KEYS.commands, {"other": "member"})
    found = commands.read("shop", count=10)
    assert len(found) == 2
    assert not any(command.kind in list(Kind) for command in found)
    commands.confirm("shop", found, [])
    assert commands.waiting("shop") == 0


def test_cancelled_tasks_are_remembered_within_a_bound_and_for_a_while(
    worker: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "CANCELLED_AT_MOST", 3)
    commands.remember_cancelled("shop", [])
    commands.remember_cancelled("shop", ["1", "2"])
    client().zadd(KEYS.cancelled, {"1": time.time() - commands.CANCELLED_KEPT - 10, "2": time.time() - 100})
    commands.remember_cancelled("shop", ["3"])
    assert commands.cancelled("shop") == ["2", "3"]
    commands.remember_cancelled("shop", ["4", "5"])
    assert commands.cancelled("shop") == ["3", "4", "5"]


def test_keys_that_hold_something_else_raise_redis_errors(worker: Callable[..., None]) -> None:
    for key in (KEYS.commands, KEYS.cancelled, KEYS.catalogue):
        client().set(key, "something else")
    for call in (
        lambda: commands.hand_over("shop", [body("1")]),
        lambda: commands.ask("shop", Kind.REVOKE, {"ids": ["1"]}),
        lambda: commands.waiting("shop"),
        lambda: commands.read("shop", count=1),
        lambda: commands.take_over("shop", count=1),
        lambda: commands.cancelled("shop"),
        lambda: commands.remember_cancelled("shop", ["1"]),
        lambda: catalogues.publish("shop", "digest", "{}"),
        lambda: catalogues.read("shop", ["digest"]),
    ):
        with pytest.raises(redis.RedisError):
            call()


def test_a_catalogue_is_found_by_its_digest(worker: Callable[..., None]) -> None:
    tasks = {"shop.add": {"doc": "", "queue": "celery"}, "shop.b": {}}
    digest, written = catalogues.encode(tasks)
    assert catalogues.encode(dict(reversed(tasks.items()))) == (digest, written)
    catalogues.publish("shop", digest, written)
    catalogues.publish("shop", "older", "{}")
    assert {name: json.loads(value) for name, value in catalogues.read("shop", [digest, "none"]).items()} == {digest: tasks}
    catalogues.keep_only("shop", [digest])
    assert list(catalogues.read("shop", [digest, "older"])) == [digest]
    with pytest.raises(ValueError, match="at most 2000 tasks"):
        catalogues.encode({str(number): {} for number in range(2001)})
