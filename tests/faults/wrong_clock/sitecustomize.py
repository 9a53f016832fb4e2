"""Gives a Python process a wall clock that is wrong by FAULTS_CLOCK_OFF seconds; Python imports it at its start.

Only the wall clock: durations are measured by the steady one, as on a machine whose clock is wrong.
"""

from __future__ import annotations

import datetime
import os
import time

_OFF = float(os.environ.get("FAULTS_CLOCK_OFF", "0"))
_time, _time_ns, _datetime = time.time, time.time_ns, datetime.datetime


class _AnyDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, _datetime)


class _WrongDatetime(_datetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> datetime.datetime:
        return _datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


if _OFF:
    time.time = lambda: _time() + _OFF
    time.time_ns = lambda: _time_ns() + int(_OFF * 1e9)
    # Libraries look a value's class up by this name.
    _WrongDatetime.__name__ = _WrongDatetime.__qualname__ = "datetime"
    _WrongDatetime.__module__ = "datetime"
    datetime.datetime = _WrongDatetime  # type: ignore[misc]
