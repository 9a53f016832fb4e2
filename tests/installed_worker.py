"""Checks the installed package zenith_worker in any environment: its modules, and the values that differ between Pythons.

It needs nothing of the tests, and also runs on Python 3.9, without Django, hiredis and uuid-utils.
"""

from __future__ import annotations

import importlib
import json
import pickle
import pkgutil
import sys
import time

import zenith_worker


def main() -> None:
    """Import every module, then check."""
    modules = [module.name for module in pkgutil.walk_packages(zenith_worker.__path__, "zenith_worker.")]
    for name in modules:
        importlib.import_module(name)
    assert len(modules) > 40
    assert not {"zenith_site", "tasks_app", "infra_app"} & set(sys.modules)
    check_statuses()
    check_events()
    check_ids()


def check_statuses() -> None:
    """A status is its value as text, like a member of Python's own StrEnum."""
    from zenith_worker.wire.states import Status

    status = Status("SUCCESS")
    assert status is pickle.loads(pickle.dumps(status))  # noqa: S301
    assert status == f"{status}" == f"{status!s}" == str(status) == "SUCCESS"
    assert type(str(status)) is str
    assert repr(status) == "<Status.SUCCESS: 'SUCCESS'>"


def check_events() -> None:
    """What is written to the stream is read from it, and a value of the wrong type is refused."""
    from zenith_worker.wire.events import Event, UnreadableEntryError, decode, encode
    from zenith_worker.wire.states import Status

    event = Event(
        task_id="t", status=Status.RETRY, at=time.time(), args=[1], kwargs={"a": None}, runtime=1, priority=3, held=True
    )
    assert decode(encode([event])) == [event]
    rows = [{"task_id": 1}, {"status": "DONE"}, {"at": True}, {"held": 1}, {"args": {}}, {"runtime": "1"}]
    for row in rows:
        try:
            decode(json.dumps([{"task_id": "t", "status": "SUCCESS", "at": 1, **row}]).encode())
        except UnreadableEntryError:
            continue
        raise AssertionError(row)


def check_ids() -> None:
    """New ids are in order and of this time, also without uuid-utils."""
    from zenith_worker.wire.ids import new_id, uuid7

    for make in (new_id, uuid7):
        made = [make() for _ in range(100)]
        assert made == sorted(made)
        assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
        assert abs((made[-1].int >> 80) / 1000 - time.time()) < 5


if __name__ == "__main__":
    main()
