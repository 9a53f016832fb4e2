"""Questions of processes without a database to those with one: has a task ended, and how?

1. Whoever asks appends a question to a list in Redis, and waits for the answer on a key of its own, for a few seconds at most.
2. An engine takes the questions, looks into PostgreSQL and answers (tasks_app/maintenance/answers.py).

Each application has a list of its own (keys.py), so whose tasks a question is about follows from where it lies. Engines take from
all lists in turn. What other applications write there is from strangers: it is bounded, and what is no question is dropped.

A process that has the database answers its own questions (`answer_here`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

import redis
from kombu.utils import json as kombu_json

from zenith_worker.wire.client import client, load, script, text
from zenith_worker.wire.compat import StrEnum
from zenith_worker.wire.keys import NATIVE, application_keys, own_keys

#: Seconds for which an answer is waited for, and for which one is kept that nobody fetches.
PATIENCE: Final = 2.0
ANSWER_KEPT: Final = 5
#: Questions of an application that wait at most; of more, the oldest are forgotten, and whoever asked has given up long ago.
WAITING_AT_MOST: Final = 1000
#: Questions that an engine takes at once (at least one of each application), and ids of one question: each result may have a
#: million characters.
TAKEN_AT_ONCE: Final = 50
IDS_AT_MOST: Final = 100
#: Bytes of a question, and characters of its token.
_LONGEST: Final = 2**18
_TOKEN_KEPT: Final = 64

_TAKE: Final = load("questions_take")


class Kind(StrEnum):
    """What is asked about tasks.

    ENDED: which of them have ended. RESULTS: the metadata of those that are known, in the form of Celery's backends. Only
    Zenith's own application is told that: the results of others are theirs.
    """

    ENDED = "ended"
    RESULTS = "results"


class Question(NamedTuple):
    """A question about the tasks of an application with these ids; the answer is a JSON object by id."""

    kind: Kind
    ids: Sequence[str]
    token: str = ""
    application: str = NATIVE


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
    keys = own_keys()
    with client().pipeline(transaction=True) as pipe:
        pipe.rpush(keys.questions, json.dumps([question.kind, question.ids, question.token]))
        pipe.ltrim(keys.questions, -WAITING_AT_MOST, -1)
        pipe.execute()
    reply: Any = client().blpop([keys.answer + question.token], timeout=PATIENCE)
    if reply is None:
        raise NobodyAnswersError(f"no engine answered within {PATIENCE:g} s")
    return dict(kombu_json.loads(reply[1]))


def take(applications: Sequence[str], block: float) -> list[Question]:
    """Return questions of these applications that wait, of each its share; or the first one that comes within `block` seconds.

    Unreadable ones are dropped. Raises redis.RedisError.
    """
    by_key = {application_keys(application).questions: application for application in applications}
    lists = list(by_key)
    taken = script(_TAKE, lists[0], TAKEN_AT_ONCE, WAITING_AT_MOST, _LONGEST, *lists[1:])
    rows = [(lists[index - 1], row) for index, row in zip(taken[::2], taken[1::2])] or _first(lists, block)
    read = (_question(row, by_key[key]) for key, row in rows)
    return [question for question in read if question is not None]


def _first(lists: Sequence[str], block: float) -> list[tuple[str, bytes | str]]:
    try:
        row: Any = client().blpop(list(lists), timeout=block)
    except redis.ResponseError as error:
        # Something else has just taken the place of a list: the next `take` removes it.
        if not str(error).startswith("WRONGTYPE"):
            raise
        return []
    return [] if row is None else [(text(row[0]), row[1])]


def put_back(questions: Iterable[Question]) -> None:
    """Let questions that were taken be the next ones of their applications, in this order. Raises redis.RedisError."""
    with client().pipeline(transaction=False) as pipe:
        for question in reversed(list(questions)):
            key = application_keys(question.application).questions
            pipe.lpush(key, json.dumps([question.kind, question.ids, question.token]))
        pipe.execute(raise_on_error=False)


def answer(question: Question, reply: dict[str, Any]) -> None:
    """Answer a question, in kombu's JSON: a result may hold dates, decimals and the like. Raises redis.RedisError."""
    key = application_keys(question.application).answer + question.token
    with client().pipeline(transaction=True) as pipe:
        pipe.unlink(key)  # of whatever type it is
        pipe.rpush(key, kombu_json.dumps(reply))
        pipe.expire(key, ANSWER_KEPT)
        pipe.execute()


def _question(row: bytes | str, application: str) -> Question | None:
    if len(row) > _LONGEST:
        return None
    try:
        kind, ids, token = json.loads(text(row))
        if not (_is_token(token) and isinstance(ids, list) and all(isinstance(id_, str) for id_ in ids)):
            return None
        return Question(Kind(kind), ids[:IDS_AT_MOST], token, application)
    except (ValueError, TypeError, RecursionError):
        return None


def _is_token(token: Any) -> bool:
    return isinstance(token, str) and token.isascii() and token.isalnum() and len(token) <= _TOKEN_KEPT
