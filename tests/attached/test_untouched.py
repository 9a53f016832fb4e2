"""A watched application is untouched: it does what it does unwatched, and its Redis sees only what Celery's own tools send."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from tasks_app.models import Task
from tasks_app.watching import observer_state
from tasks_app.watching.applications import Watch, watch
from tasks_app.watching.observers import Observers
from tests.attached.conftest import Shop
from tests.attached.recording import record
from tests.redis_server import RedisServer, redis_server
from tests.waiting import eventually
from zenith_worker.wire import heartbeat

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: Commands about the connection itself and about scripts, and those that only read.
READS: Final = {
    "HELLO", "AUTH", "CLIENT SETINFO", "CLIENT SETNAME", "SELECT", "PING", "MULTI", "EXEC", "WATCH", "UNWATCH", "SCRIPT LOAD",
    "SCRIPT EXISTS", "INFO", "CONFIG GET", "TIME", "EXISTS", "TYPE", "LLEN", "LRANGE", "LINDEX", "SCARD", "SMEMBERS", "HLEN",
    "HGET", "HMGET", "ZCARD", "ZRANGE", "ZREVRANGEBYSCORE", "SCAN", "SRANDMEMBER",
}  # fmt: skip
#: kombu's list of which queues there are, of the observer's own two: for events and for answers.
BINDINGS: Final = r"_kombu\.binding(_permanent)?\.(celeryev|reply\.celery\.pidbox)|_kombu\.binding_deadlines"
#: The observer's own queues, with kombu's steps of priority.
OWN: Final = r"([0-9a-f-]{36}\.reply\.celery\.pidbox|celeryev\.zenith\.[0-9a-f]{32})(\\x06\\x16\d)?"
#: What writes, or takes, with the pattern of its keys or channels: what Celery's event receiver and remote control do.
WRITES: Final = {
    "PUBLISH": r"/0\.celery\.pidbox", "PSUBSCRIBE": r"/0\.celeryev/\*", "PUNSUBSCRIBE": r"/0\.celeryev/\*",
    "SADD": BINDINGS, "SREM": BINDINGS, "BRPOP": OWN, "DEL": OWN,
    # kombu's turn to look for messages that nobody acknowledged: with the observer's own timeout, it finds none.
    "SET": r"unacked_mutex",
    # kombu's scripts: that one ends, those two note and sweep queues that have expired.
    "EVALSHA": rf"unacked_mutex|_kombu\.binding\.|{BINDINGS}",
}  # fmt: skip
#: What an application's own workers keep in their broker: which queues there are.
KEPT: Final = r"_kombu\.binding(_permanent)?\.(celery|slow)|_kombu\.binding_deadlines"


class Monitor:
    """What a Redis is sent over its socket, which only the observer uses: as lists of words."""

    _LINE: Final = re.compile(r"\+[\d.]+ \[\d+ unix:[^\]]*\] (.*)")
    _WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')

    def __init__(self, server: RedisServer) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port))
        self._socket.sendall(b"MONITOR\r\n")
        self._lines: list[str] = []
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def stop(self) -> list[list[str]]:
        """End, and return the commands."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._socket.close()
        found = [match for line in self._lines if (match := self._LINE.match(line))]
        return [self._WORD.findall(match[1]) for match in found]

    def _listen(self) -> None:
        with self._socket.makefile("r", encoding="utf-8", errors="replace") as lines:
            self._lines.extend(lines)


def unexpected(words: list[str]) -> bool:
    """Whether a command is none of those that are allowed."""
    name = words[0].upper()
    if name in READS or f"{name} {words[1] if len(words) > 1 else ''}".upper() in READS:
        return False
    keys = {
        "EVALSHA": lambda: words[3 : 3 + int(words[2])], "BRPOP": lambda: words[1:-1], "DEL": lambda: words[1:],
        "PSUBSCRIBE": lambda: words[1:], "PUNSUBSCRIBE": lambda: words[1:],
    }.get(name, lambda: words[1:2])()  # fmt: skip
    return name not in WRITES or not all(re.fullmatch(WRITES[name], key) for key in keys)


def test_a_watched_application_does_the_same_as_unwatched_and_nothing_is_written_but_by_celerys_own_tools(
    shop: Callable[[str], Shop], tmp_path: Path
) -> None:
    watched, without = shop("5.7"), shop("5.7")
    with redis_server(tmp_path / "redis") as server:
        watched.broker = server.url()
        monitor = Monitor(server)
        application, _ = watch("shop", Watch(url=f"redis+socket://{server.socket}?virtual_host=0"))
        observers = Observers()

        def look() -> bool:
            observers.run_once()
            return record()

        def behave(here: Shop) -> dict[str, Any]:
            seen: dict[str, Any] = here.run("behaviours.py", attached=False)
            return seen

        eventually(lambda: look() and (state := observer_state.read("shop")) is not None and state.listens)
        for here in (watched, without):
            here.worker("shop@one", "-c", "4", attached=False)
        with ThreadPoolExecutor(2) as threads:
            both = [threads.submit(behave, here) for here in (watched, without)]
            eventually(lambda: look() and all(one.done() for one in both), within=60)
        seen, expected = (one.result() for one in both)
        assert seen["seen"] == expected["seen"]
        assert seen["total"] == expected["total"]
        recorded = eventually(lambda: look() and Task.objects.filter(application=application).count())
        assert recorded >= len(seen["ids"])
        # It was asked as well as heard.
        eventually(lambda: look() and any(not beat.unknown for beat in heartbeat.read_all("shop")))
        observers.stop()
        watched.stop()
        commands = monitor.stop()
        assert [words for words in commands if unexpected(words)] == []
        # What Celery itself takes anew at each start, and leaves behind, is its worker's.
        left = {key.decode() for key in server.admin.scan_iter()}
        assert {key for key in left if not re.fullmatch(KEPT, key)} == set()
