"""Waiting for what another process does: by looking again and again, up to a deadline."""

from __future__ import annotations

import linecache
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks: at first, and at most, for what takes long; a look may cost a connection and a query.
LOOK_EVERY, LOOK_AT_LEAST_EVERY = 0.03, 0.3
#: How many times as long as a test says it may take where a machine is busy. Nothing that comes to pass is later for it.
PATIENCE = 3


def eventually(
    condition: Callable[[], T], *, within: float = 20.0, but: Callable[[], object] | None = None, every: float = LOOK_EVERY
) -> T:
    """Return what `condition` returns once that is true.

    Looks every `every` seconds, less often the longer it takes. Fails after `within` seconds times PATIENCE, and says what it
    waited for, what that was at last, and what `but` returns then.
    """
    within *= PATIENCE
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - began
        if waited > within:
            also = f"; instead: {but()}" if but else ""
            raise AssertionError(f"waited {within:g} s for: {wanted(condition)}\nit was at last: {value!r}{also}")
        time.sleep(max(every, min(waited / 10, LOOK_AT_LEAST_EVERY)))


def wanted(condition: Callable[[], object]) -> str:
    """Return a condition's expression as it stands in the test, or its name."""
    name = getattr(condition, "__name__", repr(condition))
    code = getattr(condition, "__code__", None)
    lines = linecache.getlines(code.co_filename) if code and name == "<lambda>" else []
    spans = [(line, start, last, end) for line, last, start, end in code.co_positions() if line and last and end] if lines else []
    if not spans:
        return str(name)
    (first, start), (last, end) = min(span[:2] for span in spans), max(span[2:] for span in spans)
    text = "".join(lines[first - 1 : last])
    # Columns count bytes.
    tail = len(lines[last - 1].encode()) - (end or 0)
    return " ".join(text.encode()[start or 0 : len(text.encode()) - tail].decode(errors="replace").split())
