"""The broker's transport: a message that was taken out of its queue is not lost where Redis refuses to note that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
import redis
from celery import current_app
from kombu import Connection, Consumer, Message, Queue

from zenith_worker.wire import stream, transport
from zenith_worker.wire.keys import TAKEN


@pytest.fixture
def queue() -> Iterator[str]:
    """A queue of this test alone."""
    name = f"refused-{uuid4().hex}"
    yield name
    transport.QoS.unplaced.clear()
    stream.client().delete(name)


@contextmanager
def no_room() -> Iterator[None]:
    """Let Redis give messages out and take nothing in."""
    stream.client().config_set("maxmemory", 1)
    try:
        yield
    finally:
        stream.client().config_set("maxmemory", 0)


class Worker:
    """What a worker does with a queue, over one connection."""

    def __init__(self, connection: Connection, queue: str) -> None:
        self.connection = connection
        self.taken: list[object] = []
        self.consumer = Consumer(connection, [Queue(queue)], callbacks=[self._receive])
        self.consumer.consume()

    def _receive(self, body: object, message: Message) -> None:
        self.taken.append(body)
        message.ack()

    def take(self) -> list[object]:
        """Wait for the next message; return all that came."""
        self.connection.drain_events(timeout=10)
        return self.taken


def test_a_message_whose_acknowledgement_is_lost_is_not_claimed_to_be_held(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its worker would name it for ever, and nobody could put it back."""
    with current_app.connection_for_read() as connection:
        worker = Worker(connection, queue)
        connection.Producer().publish({"number": 1}, routing_key=queue)
        qos = worker.consumer.channel.qos
        with monkeypatch.context() as lost:
            acknowledge = qos.ack
            lost.setattr(qos, "ack", lambda tag: None)
            assert worker.take() == [{"number": 1}]
            (tag,) = qos.held()
            lost.setattr(qos, "_transact", _refuse)
            with pytest.raises(redis.ConnectionError):
                acknowledge(tag)
        assert qos.held() == set()
        stream.client().delete("unacked", "unacked_index", TAKEN)


def _refuse(*_: object, **__: object) -> None:
    raise redis.ConnectionError("refused")


def test_a_message_whose_note_is_refused_comes_again_once_there_is_room(queue: str) -> None:
    with current_app.connection_for_read() as first, current_app.connection_for_read() as second:
        worker, later = Worker(first, queue), Worker(second, queue)
        first.Producer().publish({"number": 1}, routing_key=queue)
        with no_room():
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                worker.take()
            assert (worker.taken, stream.client().llen(queue)) == ([], 0)
            # It does not get lost by being tried too early.
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                later.take()
    with current_app.connection_for_read() as third:
        assert Worker(third, queue).take() == [{"number": 1}]
    assert (transport.QoS.unplaced, stream.client().llen(queue), stream.client().hlen("unacked")) == ([], 0, 0)
