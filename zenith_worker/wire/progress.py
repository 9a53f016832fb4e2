"""How far a task is, as a report of a step carries it.

Both sides use this: a worker bounds what a task tells, and a recorder bounds it again, for anybody may have written the entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from numbers import Real
from typing import Any, Final

from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.saferepr import saferepr

from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.events import nested_deeper

#: Characters kept of a custom state's name, and of the JSON of what else a task tells; a longer one is told as its text, cut.
STATE_KEPT: Final = 100
META_KEPT: Final = 10_000
REPR_KEPT: Final = 2_000
#: Levels of nesting of it.
META_DEPTH: Final = 20
#: The largest count: above it, floats can no longer tell neighbours apart.
MOST: Final = 1e15
#: Greater than every valid time: the year 9999.
_LATEST: Final = 253_402_300_799
#: Digits of an integer that some reader of JSON refuses.
_LONG_INTEGER: Final = re.compile(r"\d{400}")
UNPRINTABLE: Final = "(it cannot be printed)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a task is.

    Attributes:
        current: steps that are done; None if the task tells no number.
        total: all steps; None if that is unknown.
        state: the name of a custom state; empty if the task uses none.
        meta: what the task tells with it, as JSON value.
        earlier: an earlier time (Unix time in seconds) and the steps that were done by then, from which a rate follows.
        samples: how many reports lie between the two, both included.
        by: the id of another task that told this, empty if it was told outside of any; None if the task itself told it.
    """

    current: float | None = None
    total: float | None = None
    state: str = ""
    meta: Any = None
    earlier: tuple[float, float] | None = None
    samples: int = 0
    by: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as an event carries it."""
        told = {"current": self.current, "total": self.total, "state": self.state, "meta": self.meta}
        if self.earlier is not None:
            told |= {"earlier": list(self.earlier), "samples": self.samples}
        if self.by is not None:
            told["by"] = self.by
        return told

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Progress:
        """Return what an event carries; what cannot be is left out. Never raises."""
        current, total = counts(told.get("current"), told.get("total"))
        state, by, samples = told.get("state"), told.get("by"), told.get("samples")
        return cls(
            current=current,
            total=total,
            state=state[:STATE_KEPT] if isinstance(state, str) else "",
            meta=json.loads(meta_text(told.get("meta"))),
            earlier=_earlier(told.get("earlier")),
            samples=samples if type(samples) is int and 0 < samples <= 1_000 else 0,
            by=by if isinstance(by, str) or by is None else "",
        )


def counts(current: object, total: object) -> tuple[float | None, float | None]:
    """Return the steps that are done and all steps, each None if it is no count; fewer steps than are done are no total."""
    done, all_ = _count(current), _count(total)
    if all_ is not None and (all_ == 0 or (done is not None and done > all_)):
        all_ = None
    return done, all_


def _count(value: object) -> float | None:
    """Return a number as it is if it can count steps, else None."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        # Numbers of other libraries are no JSON.
        number: float = int(value) if isinstance(value, int) else float(value)
        return number if 0 <= number <= MOST else None
    except (TypeError, ValueError, OverflowError):
        return None


def _earlier(value: object) -> tuple[float, float] | None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    at, done = (_count(item) for item in value)
    return None if at is None or done is None or at > _LATEST else (float(at), float(done))


def meta_text(meta: Any) -> str:
    """Return what a task tells as JSON text of at most META_KEPT characters; of what is more, or no JSON, the text, cut.

    Raises what the methods of somebody else's class raise, and SoftTimeLimitExceeded; nothing for a JSON value.
    """
    try:
        text = json.dumps(meta, allow_nan=False, default=_described)
        if len(text) <= META_KEPT and (isinstance(meta, str) or not (_LONG_INTEGER.search(text) or _is_deep(text))):
            return text
    except (TypeError, ValueError, RecursionError):
        pass
    return json.dumps(_described(meta))


def _is_deep(text: str) -> bool:
    return text.count("[") + text.count("{") > META_DEPTH and nested_deeper(json.loads(text), META_DEPTH)


def _described(value: Any) -> str:
    """Return the text of a value of whatever class, cut."""
    try:
        return str(saferepr(value, REPR_KEPT))[: 2 * REPR_KEPT]
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # somebody else's `__repr__` may raise anything
        return UNPRINTABLE
