"""One request, one effect: what `Idempotency-Key` needs beside the table of keys, which an app keeps and registers here."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class IdempotentAnswer:
    """An answer, as JSON has it; `repeated` tells that it was given before."""

    answer: Any
    repeated: bool


#: Given a key, a digest of what is asked and what to do: does it, or returns what it returned when the key was used before.
Keeper = Callable[[str, bytes, Callable[[], Any]], IdempotentAnswer]


def scoped_key(caller: str, key: str) -> str:
    """Return a key with its caller in front. `caller` must be unique for whoever may repeat a request."""
    return f"{caller[:140]}:{key}"


def request_digest(asked: Any) -> bytes:
    """Return a digest that is equal for equal requests; `asked` is made of JSON's kinds of values, and dates."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).digest()


_keeper: Keeper | None = None


def register(keeper: Keeper) -> None:
    """Take what keeps the keys: the app that has their table says so in AppConfig.ready()."""
    global _keeper
    _keeper = keeper


def run_once(key: str, wanted: bytes, act: Callable[[], Any]) -> IdempotentAnswer:
    """Return what `act` returns, or what it returned when this key was used before."""
    if _keeper is None:
        raise RuntimeError("No app has registered what keeps the keys.")
    return _keeper(key, wanted, act)
