"""`Idempotency-Key` for operations that create something: the same request again gets the same answer."""

from collections.abc import Callable
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Header
from pydantic import BaseModel

from zenith_site.common.callers import Caller
from zenith_site.common.once import request_digest, run_once, scoped_key

#: The header field, as an argument of an operation.
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$",
        description="With a key the same request can be sent again within a day, and gets the first one's answer.",
    ),
]  # fmt: skip
#: The field that marks such an answer.
REPLAYED = "Idempotent-Replayed"


def answer_once(
    request: HttpRequest, response: HttpResponse, caller: Caller, key: str | None, asked: Any, act: Callable[[], BaseModel]
) -> Any:
    """Return `act`'s answer, or the one that it gave when the caller used this key before.

    `act` runs in a transaction with the key. Its answer is kept for a day: one with a secret in it must
    not come this way. `asked` is what makes requests equal, besides method and path: a model, or JSON.
    Raises IdempotencyConflictError where the key stands for another request.
    """
    if key is None:
        return act()
    wanted = request_digest([request.method, request.path, _plain(asked)])
    done = run_once(scoped_key(caller.key, key), wanted, lambda: _plain(act()))
    if done.repeated:
        response[REPLAYED] = "true"
    return done.answer


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
