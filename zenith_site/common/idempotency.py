"""`Idempotency-Key`: the same request, sent again with the same key, has one effect and gets the first one's answer.

The table of keys belongs to an app, which registers here the function that reads and writes it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from django.http import HttpRequest, HttpResponse
from ninja import Header
from pydantic import BaseModel

from zenith_site.common.callers import Caller

#: The header field, as an argument of an operation.
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$",
        description="Makes the request idempotent: sent again with the same key within a day, it gets the first answer.",
    ),
]  # fmt: skip
#: The header field that marks an answer as the one given before.
REPLAYED: Final = "Idempotent-Replayed"


@dataclass(frozen=True, slots=True)
class IdempotentAnswer:
    """An answer as JSON; `repeated` says that it was given before."""

    answer: Any
    repeated: bool


#: Takes a key, the request's digest and the action; runs the action, or returns what it returned when the key was used before.
KeyStore = Callable[[str, bytes, Callable[[], Any]], IdempotentAnswer]

_key_store: KeyStore | None = None


def register_key_store(key_store: KeyStore) -> None:
    """Set the function that keeps the keys. The app that owns their table calls this in AppConfig.ready()."""
    global _key_store
    _key_store = key_store


def scoped_key(caller: str, key: str) -> str:
    """Return a key that is the caller's own. `caller` must be unique for whoever may repeat a request."""
    return f"{caller[:140]}:{key}"


def request_digest(content: Any) -> bytes:
    """Return a digest that is equal for equal requests. `content` is JSON, and may hold dates."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).digest()


def run_once(key: str, digest: bytes, action: Callable[[], Any]) -> IdempotentAnswer:
    """Return what `action` returns, or what it returned when this key was used before."""
    if _key_store is None:
        raise RuntimeError("No app has registered a store for idempotency keys.")
    return _key_store(key, digest, action)


def answer_once(
    request: HttpRequest, response: HttpResponse, caller: Caller, key: str | None, content: Any, action: Callable[[], BaseModel]
) -> Any:
    """Return `action`'s answer, or the one that it gave when the caller used this key before.

    `action` runs in one transaction with the key. Its answer is stored for a day, so it must hold no secret. Requests are equal
    if their method, path and `content` (a model, or JSON) are. Raises IdempotencyConflictError if the key was used with
    another request.
    """
    if key is None:
        return action()
    digest = request_digest([request.method, request.path, _as_json(content)])
    done = run_once(scoped_key(caller.key, key), digest, lambda: _as_json(action()))
    if done.repeated:
        response[REPLAYED] = "true"
    return done.answer


def _as_json(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
