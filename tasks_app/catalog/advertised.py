"""What an application's workers say they can run (zenith_worker/wire/catalogues.py), checked and rebuilt for storing.

All of it is from strangers. A task whose description is invalid is left out and counted; it never costs the others their place.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from tasks_app.catalog.schemas import NAME_AT_MOST, checked_name, cut_text, is_storable, rebuilt
from zenith_site.common.masking import mask
from zenith_worker.wire.catalogues import KINDS, TASKS_AT_MOST
from zenith_worker.wire.queue_names import why_malformed

PARAMETERS_AT_MOST: Final = 100
DESCRIPTION_KEPT: Final = 4000
#: The most retries that are believed; PostgreSQL's smallest integers hold as many.
RETRIES_AT_MOST: Final = 2**15 - 1
#: The longest time limit that is believed, in seconds.
LIMIT_AT_MOST: Final = 2**31
#: Celery's own tasks, which its canvas uses.
_CELERYS: Final = "celery."
#: Characters of an integer that can be exact in JSON.
_DIGITS_AT_MOST: Final = 20
_VARIADIC: Final = frozenset(("var_positional", "var_keyword"))
#: The members of a task's description.
Described = dict[str, Any]


class Advertised(NamedTuple):
    """The valid tasks of a catalogue by name, and how many others there were."""

    tasks: dict[str, Described]
    left_out: int


def read(written: bytes) -> Advertised:
    """Return the tasks of a catalogue as a worker wrote it; one that cannot be read counts as one task that was left out."""
    try:
        said = json.loads(written, parse_int=_integer)
    except (ValueError, RecursionError):
        said = None
    if type(said) is not dict:
        return Advertised({}, 1)
    names = sorted(name for name in said if not name.startswith(_CELERYS))
    tasks = {name: task for name in names[:TASKS_AT_MOST] if (task := _task_or_none(name, said[name])) is not None}
    return Advertised(tasks, len(names) - len(tasks))


def _integer(digits: str) -> float:
    """Return an integer, or what no check accepts if it is too long: one such number must not hide the other tasks."""
    return int(digits) if len(digits) <= _DIGITS_AT_MOST else math.nan


def _task_or_none(name: str, said: Any) -> Described | None:
    try:
        checked_name(name)
        return _task(said)
    except (ValueError, KeyError, RecursionError):
        return None


def _task(said: Any) -> Described:
    """Return a task's description, rebuilt. Raises ValueError or KeyError if it is invalid."""
    if type(said) is not dict:
        raise ValueError("a task is described by an object")
    queue, max_retries = said.get("queue"), said.get("max_retries")
    if max_retries is not None and (type(max_retries) is not int or max_retries < 0):
        raise ValueError("max_retries is a count")
    return {
        "doc": cut_text(said.get("doc", ""), DESCRIPTION_KEPT),
        # Where its messages go is for people to read, and nothing that must hold for sending it.
        "queue": queue if type(queue) is str and why_malformed(queue) is None else None,
        "max_retries": None if max_retries is None else min(max_retries, RETRIES_AT_MOST),
        "drill": said.get("drill") is True,
        "parameters": _parameters(said["parameters"]),
        **_message_options(said),
    }


def _message_options(said: Described) -> Described:
    """Return what a task's definition puts into its messages (entry.py: MessageOptions), without what is as ever."""
    limits = {name: said[name] for name in ("time_limit", "soft_time_limit") if said.get(name) is not None}
    if not all(type(limit) in (int, float) and 0 < limit <= LIMIT_AT_MOST for limit in limits.values()):
        raise ValueError("a time limit is a number of seconds")
    return {**limits, "ignore_result": True} if said.get("ignore_result") is True else limits


def _parameters(said: Any) -> list[Described]:
    if type(said) is not list or len(said) > PARAMETERS_AT_MOST:
        raise ValueError(f"no list of at most {PARAMETERS_AT_MOST} parameters")
    parameters = [_parameter(item) for item in said]
    if len({item["name"] for item in parameters}) < len(parameters) or not _in_order(parameters):
        raise ValueError("no parameters of a function")
    return parameters


def _in_order(parameters: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the kinds of these parameters follow each other as they do in Python."""
    kinds = [item["kind"] for item in parameters]
    return kinds == sorted(kinds, key=KINDS.index) and all(kinds.count(kind) <= 1 for kind in _VARIADIC)


def _parameter(said: Any) -> Described:
    if type(said) is not dict or type(said["name"]) is not str or said["kind"] not in KINDS:
        raise ValueError("no parameter")
    name, kind = said["name"], said["kind"]
    if not name.isidentifier() or len(name) > NAME_AT_MOST:
        raise ValueError("no name of a parameter")
    parameter = {
        "name": name, "kind": kind, "required": said.get("required") is True and kind not in _VARIADIC,
        "schema": rebuilt(said.get("schema", True)),
    }  # fmt: skip
    default = {name: said.get("default")}
    # A default that is a secret stays in its application: an argument that is not given has it there all the same.
    if "default" in said and is_storable(default[name]) and mask(default) == default:
        parameter["default"] = default[name]
    return parameter
