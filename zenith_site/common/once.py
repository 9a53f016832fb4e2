"""One request, one effect: what `Idempotency-Key` needs beside the table of keys, which tasks_app keeps and fills in here."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Once:
    """An answer, as JSON has it; `repeated` tells that it was given before."""

    answer: Any
    repeated: bool


#: Given a key, a digest of what is asked and what to do: does it, or returns what it returned when the key was used before.
Keeper = Callable[[str, bytes, Callable[[], Any]], Once]


def scoped(caller: str, key: str) -> str:
    """Return a key with its caller in front. `caller` must be unique for whoever may repeat a request."""
    return f"{caller[:140]}:{key}"


def digest(asked: Any) -> bytes:
    """Return a digest that is equal for equal requests; `asked` is made of JSON's kinds of values, and dates."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).digest()


class _Filled:
    keeper: Keeper | None = None


def fill(keeper: Keeper) -> None:
    """Take what keeps the keys; called once at start."""
    _Filled.keeper = keeper


def once(key: str, wanted: bytes, act: Callable[[], Any]) -> Once:
    """Return what `act` returns, or what it returned when this key was used before; tasks_app/dispatch/idempotency.py does it."""
    if _Filled.keeper is None:
        raise RuntimeError("Nobody has called zenith_site.common.once.fill(); tasks_app does so at start.")
    return _Filled.keeper(key, wanted, act)
