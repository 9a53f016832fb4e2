"""An application with a Redis user of its own can report for itself, and do nothing else."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
import redis
from django.core.management import CommandError, call_command

from tasks_app.maintenance import answers, application_users
from tasks_app.maintenance.applications import take_in
from tasks_app.models import Application
from zenith_worker.wire import claims, commands, deliveries, keys, questions
from zenith_worker.wire import client as wire_client
from zenith_worker.wire.claims import Verdict
from zenith_worker.wire.client import client, load
from zenith_worker.wire.events import Event
from zenith_worker.wire.instance import instance
from zenith_worker.wire.keys import APPLICATIONS, EVENTS, application_keys
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db
KEYS = application_keys("shop")
#: The scripts that an isolated application runs, by their digests.
RELEASED = {
    "begin": "e08db413ca39", "holds": "c5afc0e45233", "finish": "b1f62834b5c7",
    "release": "3a768bc18dda", "abandon": "2db44d349b67", "cancel": "d93d93456477",
}  # fmt: skip


def sha(script: str) -> str:
    """The digest of a script that works with claims."""
    return digest(load("claim", script))


def digest(source: str) -> str:
    """The digest by which Redis knows a script."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture(autouse=True)
def no_users() -> Iterator[None]:
    client().flushdb()
    yield
    client().execute_command("ACL", "DELUSER", "zenith-app-shop", "zenith-app-clinic")


def add(name: str) -> str:
    output = StringIO()
    call_command("applications", "add", name, "--json", stdout=output)
    return str(json.loads(output.getvalue())["url"])


def test_it_is_made_with_the_line_that_its_workers_need() -> None:
    output, told = StringIO(), StringIO()
    call_command("applications", "add", "shop", stdout=output, stderr=told)
    url = application_users.url("shop")
    assert output.getvalue() == f"export ZENITH_URL='{url}' ZENITH_APPLICATION=shop\n"
    assert "has its password" in told.getvalue()
    row = Application.objects.get(name="shop")
    assert (row.kind, row.isolated, row.first_heard_at) == ("attached", True, None)
    assert redis.Redis.from_url(url).ping()
    assert add("shop") == url, "again: the same"
    assert add("clinic") != url
    assert Application.objects.count() == 3


def test_its_user_writes_its_own_keys() -> None:
    own = redis.Redis.from_url(add("shop"))
    own.xadd(KEYS.events, {"e": "[]"})
    with own.pipeline(transaction=True) as pipe:
        pipe.sadd(KEYS.workers, "w")
        pipe.set(f"{KEYS.worker}w", "{}", px=1000)
        pipe.execute()
    own.hset(KEYS.dropped, "p", 1)
    own.set(KEYS.about, "{}")
    assert own.hexists(KEYS.catalogue, "digest") is False
    own.hset(KEYS.catalogue, "digest", "{}")
    own.srem(KEYS.workers, "w")
    own.delete(f"{KEYS.worker}w")


CLINIC = application_keys("clinic")
#: A claim as a worker of the application would make it, and what it reports with it: attempt, instance, token, …
BEGIN = ("0", "w", "t", "1", "60", KEYS.alive, KEYS.cancelled, "1")
FINISH = ("0", "w", "t", KEYS.events, "[]", "E", "60")


@pytest.mark.parametrize(
    "command",
    [
        ("XADD", EVENTS, "*", "e", "[]"), ("XADD", CLINIC.events, "*", "e", "[]"),
        ("HSET", APPLICATIONS, "clinic", "{}"), ("SET", "zenith:claim:x", "1"), ("DEL", EVENTS), ("SADD", "zenith:workers", "w"),
        ("XREADGROUP", "GROUP", "workers", "w", "STREAMS", CLINIC.commands, ">"),
        ("XREADGROUP", "GROUP", "recorder", "w", "STREAMS", EVENTS, ">"),
        ("XPENDING", CLINIC.commands, "workers"),
        ("ZRANGE", CLINIC.cancelled, "0", "-1"), ("HEXISTS", CLINIC.catalogue, "x"),
        ("EXISTS", CLINIC.about), ("XGROUP", "CREATE", KEYS.commands, "other", "0", "MKSTREAM"),
        # Claims, counts, questions and answers are of one application.
        ("GET", f"{CLINIC.claim}1"), ("GET", "zenith:claim:1"), ("SET", f"{CLINIC.claim}1", "x"), ("DEL", f"{CLINIC.claim}1"),
        ("EXPIRE", "zenith:claim:1", "1"), ("PTTL", f"{CLINIC.alive}w"), ("ZSCORE", CLINIC.cancelled, "1"),
        ("INCR", "zenith:lost:1:0"), ("RPUSH", "zenith:questions", "x"), ("RPUSH", CLINIC.questions, "x"),
        ("LTRIM", CLINIC.questions, "1", "0"), ("BLPOP", "zenith:answer:x", "1"),
        ("BLPOP", f"{KEYS.answer}x", CLINIC.questions, "1"),
        ("EVALSHA", sha("claim_begin"), "1", "zenith:claim:1", *BEGIN),
        ("EVALSHA", sha("claim_begin"), "1", f"{CLINIC.claim}1", *BEGIN),
        ("EVALSHA", sha("claim_finish"), "1", f"{CLINIC.claim}1", *FINISH),
        # Of its own keys, it uses them as its processes do; and nothing can be administered.
        ("XRANGE", KEYS.events, "-", "+"), ("LRANGE", KEYS.questions, "0", "-1"), ("HGETALL", KEYS.catalogue),
        ("KEYS", "*"), ("FLUSHDB",), ("CONFIG", "GET", "*"),
        ("ACL", "LIST"), ("SUBSCRIBE", "zenith"), ("PUBLISH", "zenith", "x"), ("RENAME", KEYS.about, "x"),
        # It sends no scripts.
        ("EVAL", "return 1", "0"), ("EVAL", "return redis.call('GET', KEYS[1])", "1", f"{KEYS.claim}1"),
        ("SCRIPT", "LOAD", "return 1"), ("SCRIPT", "FLUSH"), ("SCRIPT", "EXISTS", "x"), ("SCRIPT", "KILL"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_its_user_can_do_nothing_else(command: tuple[str, ...]) -> None:
    own = redis.Redis.from_url(add("shop"))
    with pytest.raises(redis.exceptions.NoPermissionError):
        own.execute_command(*command)


@pytest.mark.parametrize(
    ("script", "key", "arguments"),
    [
        # The keys that a script computes, or is given as arguments.
        ("return redis.call('GET', ARGV[1])", f"{KEYS.claim}1", (f"{CLINIC.claim}1",)),
        ("return redis.call('GET', 'zenith:claim:' .. 1)", f"{KEYS.claim}1", ()),
        ("return redis.call('SET', ARGV[1], 'x')", f"{KEYS.claim}1", ("zenith:claim:1",)),
        ("return redis.call('XADD', ARGV[1], '*', 'e', '[]')", f"{KEYS.claim}1", (EVENTS,)),
        # Nor does a script give it a command that it lacks.
        ("return redis.call('HGETALL', KEYS[1])", KEYS.catalogue, ()),
        (claims._BEGIN, f"{KEYS.claim}1", (*BEGIN[:5], CLINIC.alive, *BEGIN[6:])),
        (claims._BEGIN, f"{KEYS.claim}1", (*BEGIN[:6], CLINIC.cancelled, "1")),
        (claims._FINISH, f"{KEYS.claim}1", (*FINISH[:3], EVENTS, *FINISH[4:])),
        (claims._FINISH, f"{KEYS.claim}1", (*FINISH[:3], CLINIC.events, *FINISH[4:])),
        (claims._FINISH, f"{KEYS.claim}1", (*FINISH, "celery-task-meta-1", "{}", "60")),
        (claims._CANCEL, f"{KEYS.claim}2", ("60", "zenith:alive:")),
        (load("queue_sweep"), KEYS.questions, (str(10**9), KEYS.claim)),
    ],
)  # fmt: skip
def test_a_script_that_redis_knows_reaches_nothing_else_either(script: str, key: str, arguments: tuple[str, ...]) -> None:
    own = redis.Redis.from_url(add("shop"))
    client().script_load(script)
    before = {"zenith:claim:1": b"x", f"{CLINIC.claim}1": b"x", f"{KEYS.claim}2": b"R|0|other|t|1|0"}
    client().mset(before)
    client().rpush(KEYS.questions, "x")
    with pytest.raises(redis.exceptions.ResponseError, match=r"permissions|can't run this command|can't access"):
        own.evalsha(digest(script), 1, key, *arguments)
    assert {name: client().get(name) for name in before} == before
    assert not client().exists(EVENTS, CLINIC.events, "celery-task-meta-1")
    assert client().lrange(KEYS.questions, 0, -1) == [b"x"]


@pytest.fixture
def as_shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Lets this process be one of shop's from now on."""

    def become() -> None:
        monkeypatch.setattr(wire_client, "_url", application_users.url("shop"))
        monkeypatch.setattr(wire_client, "_connections", threading.local())
        monkeypatch.setattr(keys._Own, "name", "shop")
        wire_client.keep_own_client()

    yield become
    monkeypatch.undo()
    del wire_client._own.client


def test_its_user_claims_counts_and_asks(as_shop: Callable[[], None]) -> None:
    """All that claims.py, deliveries.py and questions.py do in a worker."""
    add("shop")
    commands.remember_cancelled("shop", ["cancelled"])
    zenith, run = client(), RunNumber()
    as_shop()

    def begin(id_: str) -> Verdict:
        return claims.begin(id_, run=run, token="t").verdict

    assert [begin(id_) for id_ in ("1", "1", "cancelled")] == [Verdict.RUN, Verdict.RUN, Verdict.CANCELLED]
    assert claims.begin("1", run=run, token="other").verdict == Verdict.TAKEN
    assert claims.holds("1", run=run, token="t")
    claims.renew([("1", "t")])
    assert claims.finish(Event(task_id="1", status=Status.SUCCESS, at=1.0), token="t", ends=True)
    assert begin("1") == Verdict.ENDED
    assert claims.cancel("1") == Verdict.ENDED
    begin("2")
    assert claims.release("2", run)
    begin("3")
    assert claims.abandon("3", run, instance())
    assert claims.begin("3", run=run, token="t").crashes == 1
    assert [deliveries.count_delivery("1", run), deliveries.next_delivery("1", run)] == [1, 2]
    deliveries.count_lost("1", run)
    assert deliveries.lost_count("1", run) == 1
    deliveries.mark_reached("1", run)
    deliveries.record_crash("1", "killed")
    assert deliveries.last_crash("1") == "killed"
    assert zenith.xlen(KEYS.events) == 1
    assert {key.rpartition(b":")[0] for key in zenith.keys("*")} == {
        key.rpartition(":")[0].encode() for key in (KEYS.claim, f"{KEYS.deliveries}1:", KEYS.crash, KEYS.events)
    }  # fmt: skip


def test_its_user_asks_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    own = redis.Redis.from_url(add("shop"))
    monkeypatch.setattr(keys._Own, "name", "shop")
    monkeypatch.setattr(questions._Here, "answer", None)

    def ask() -> object:
        wire_client._own.client = own
        return questions.ask(questions.Kind.ENDED, ["1"])

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        assert answers.answer_waiting({"shop": Application.objects.get(name="shop").pk})
        assert asked.result() == {}


def test_a_redis_that_forgot_scripts_gets_those_that_its_user_runs_again(as_shop: Callable[[], None]) -> None:
    add("shop")
    zenith = client()
    as_shop()
    zenith.script_flush()
    with pytest.raises(redis.exceptions.NoScriptError):
        claims.begin("1", run=RunNumber(), token="t")
    with ThreadPoolExecutor(1) as pool:  # another thread is not one of shop's
        pool.submit(application_users.grant_missing, ["shop"]).result()
    assert claims.begin("1", run=RunNumber(), token="t").verdict == Verdict.RUN


def test_scripts_of_released_workers_stay_known() -> None:
    """Workers that were not upgraded run the scripts that they were released with, and may send none to Redis.

    If a script changed and a release has the former one, put its text as `load` returned it into zenith_worker/wire/lua/earlier/.
    """
    digests = {name: sha(f"claim_{name}")[:12] for name in ("begin", "holds", "finish", "release", "abandon", "cancel")}
    assert digests == RELEASED
    assert {digest(script)[:12] for script in claims.SCRIPTS} >= {*digests.values()}


def test_its_user_reads_and_confirms_what_zenith_asks_of_it(as_shop: Callable[[], None]) -> None:
    add("shop")
    commands.hand_over("shop", [{"id": "1", "task": "shop.add"}])
    commands.remember_cancelled("shop", ["2"])
    as_shop()
    (command,) = commands.read("shop", count=10)
    assert (command.kind, command.body["id"]) == ("send", "1")
    assert commands.read("shop", count=10, again=True) == [command]
    assert commands.take_over("shop", count=10) == []
    assert commands.cancelled("shop") == ["2"]
    commands.confirm("shop", [command], [Event(task_id="1", status=Status.QUEUED, at=time.time())])
    assert commands.read("shop", count=10, again=True) == []


def test_the_user_of_an_earlier_release_gets_the_rights_of_this_one_and_keeps_its_password() -> None:
    url = add("shop")
    commands.hand_over("shop", [])
    lacks = ("-xreadgroup", "-evalsha", "-get", "-zscore", "-pttl", "-expire", "-incr", "-rpush", "-ltrim", "-blpop")
    client().execute_command("ACL", "SETUSER", "zenith-app-shop", "resetpass", ">older", *lacks, "+hgetall", "+eval")
    client().script_flush()
    own = redis.Redis.from_url(url.replace(application_users.password("shop"), "older"))
    application_users._renewed.clear()
    take_in()
    assert own.xreadgroup("workers", "w", {KEYS.commands: ">"}) in ([], {})
    assert own.evalsha(sha("claim_holds"), 1, f"{KEYS.claim}1", "0", "w", "t") == 1
    for refused in (("HGETALL", KEYS.catalogue), ("EVAL", "return 1", "0")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            own.execute_command(*refused)


def test_what_others_say_in_its_name_does_not_count() -> None:
    add("shop")
    client().hset(APPLICATIONS, "shop", '{"main": "forged"}')
    client().set(KEYS.about, '{"main": "shop.app", "celery": "5.3.6"}')
    take_in()
    row = Application.objects.get(name="shop")
    assert (row.main, row.celery_version) == ("shop.app", "5.3.6")
    assert row.first_heard_at is not None
    client().delete(KEYS.about)
    client().rpush(KEYS.about, "something else")
    take_in()
    assert Application.objects.get(name="shop").main == "shop.app"


def test_a_redis_that_forgot_its_users_gets_them_again() -> None:
    url = add("shop")
    client().execute_command("ACL", "DELUSER", "zenith-app-shop")
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis.from_url(url).ping()
    take_in()
    assert redis.Redis.from_url(url).ping()


@pytest.mark.parametrize("name", ["", "Shop", "zenith", "a b", "-", "x" * 51, "shop\n", "*"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="at most 50 lower-case letters"):
        call_command("applications", "add", name)
    assert not Application.objects.filter(isolated=True).exists()


def test_a_redis_that_refuses_makes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise redis.exceptions.NoPermissionError("this user has no permissions to run the 'acl|setuser' command")

    monkeypatch.setattr(application_users, "grant", refuse)
    with pytest.raises(CommandError, match="Redis does not let Zenith make its user"):
        call_command("applications", "add", "shop")
    assert not Application.objects.filter(name="shop").exists()


def test_its_page_says_that_it_is_isolated(person: object) -> None:
    add("shop")
    shown = person.get("/applications/shop/").content.decode()  # type: ignore[attr-defined]
    assert "Isolated: it has a Redis user of its own" in shown
    assert application_users.password("shop") not in shown
