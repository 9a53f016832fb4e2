"""Questions of processes without a database to those with one: has a task ended, and how?

1. Whoever asks appends a question to a list in Redis, and waits for the answer on a key of its own, for a few seconds at most.
2. An engine takes the questions, looks into PostgreSQL and answers (tasks_app/maintenance/answers.py).

A process that has the database answers its own questions (`answer_here`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

from kombu.utils import json as kombu_json

from zenith_worker.wire.client import client, text
from zenith_worker.wire.compat import StrEnum
from zenith_worker.wire.keys import ANSWER, QUESTIONS

#: Seconds for which an answer is waited for, and for which one is kept that nobody fetches.
PATIENCE: Final = 2.0
ANSWER_KEPT: Final = 5
#: Questions that wait at most; of more, the oldest are forgotten, and whoever asked has given up long ago.
WAITING_AT_MOST: Final = 1000
#: Questions that an engine takes at once, and ids of one question: each result may have a million characters.
TAKEN_AT_ONCE: Final = 50
IDS_AT_MOST: Final = 100


class Kind(StrEnum):
    """What is asked about tasks.

    ENDED: which of them have ended. RESULTS: the metadata of those that are known, in the form of Celery's backends.
    """

    ENDED = "ended"
    RESULTS = "results"


class Question(NamedTuple):
    """A question about the tasks of Zenith's own application with these ids; the answer is a JSON object by id."""

    kind: Kind
    ids: Sequence[str]
    token: str = ""


class NobodyAnswersError(RuntimeError):
    """No engine answered in time."""


class _Here:
    """How this process answers its own questions, if it can."""

    answer: Callable[[Question], dict[str, Any]] | None = None


def answer_here(answer: Callable[[Question], dict[str, Any]] | None) -> None:
    """Have questions of this process, and of those forked from it, answered by a function; None sends them to an engine again."""
    _Here.answer = answer


def ask(kind: Kind, ids: Sequence[str]) -> dict[str, Any]:
    """Return the answer, by id. Raises NobodyAnswersError, redis.RedisError, or what this process' own answering raises."""
    question = Question(kind, list(ids)[:IDS_AT_MOST], uuid4().hex)
    return _ask_engine(question) if _Here.answer is None else _Here.answer(question)


def does_an_engine_answer() -> bool:
    """Return whether an engine answers in time, whoever asks. Raises redis.RedisError."""
    try:
        _ask_engine(Question(Kind.ENDED, [], uuid4().hex))
    except NobodyAnswersError:
        return False
    return True


def _ask_engine(question: Question) -> dict[str, Any]:
    with client().pipeline(transaction=True) as pipe:
        pipe.rpush(QUESTIONS, json.dumps(question))
        pipe.ltrim(QUESTIONS, -WAITING_AT_MOST, -1)
        pipe.execute()
    reply: Any = client().blpop([ANSWER + question.token], timeout=PATIENCE)
    if reply is None:
        raise NobodyAnswersError(f"no engine answered within {PATIENCE:g} s")
    return dict(kombu_json.loads(reply[1]))


def take(block: float) -> list[Question]:
    """Return questions that wait, after at most `block` seconds; unreadable ones are dropped. Raises redis.RedisError."""
    first: Any = client().blpop([QUESTIONS], timeout=block)
    if first is None:
        return []
    others: Any = client().lpop(QUESTIONS, TAKEN_AT_ONCE - 1)
    read = (_question(row) for row in (first[1], *(others or ())))
    return [question for question in read if question is not None]


def answer(question: Question, reply: dict[str, Any]) -> None:
    """Answer a question, in kombu's JSON: a result may hold dates, decimals and the like. Raises redis.RedisError."""
    key = ANSWER + question.token
    with client().pipeline(transaction=True) as pipe:
        pipe.rpush(key, kombu_json.dumps(reply))
        pipe.expire(key, ANSWER_KEPT)
        pipe.execute()


def _question(row: bytes | str) -> Question | None:
    try:
        kind, ids, token = json.loads(text(row))
        if not (isinstance(token, str) and isinstance(ids, list) and all(isinstance(id_, str) for id_ in ids)):
            return None
        return Question(Kind(kind), ids[:IDS_AT_MOST], token[:64])
    except (ValueError, TypeError, RecursionError):
        return None
