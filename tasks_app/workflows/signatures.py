"""What is planned: signatures in messages, of tasks that are sent once others have succeeded.

A message holds the rest of its task's chain in reverse, the body of its chord, its callbacks, and what is called if it fails.
Each of these may be a canvas of its own. All of it comes from outside and may hold anything, so every step has a bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

#: Canvases in canvases that are followed.
_DEEPEST: Final = 40
_NAME_KEPT: Final = 255
#: Celery's own tasks that run another one for each of many arguments.
_MAPS: Final = ("celery.map", "celery.starmap", "celery.chunks")


@dataclass
class Planned:
    """A task that is not sent yet. `after`: the keys of the parts after which it is sent, each with the kind of the edge."""

    key: str
    name: str
    group: str = ""
    after: dict[tuple[str, str], None] = field(default_factory=dict)


class Planner:
    """Collects planned parts; `key_of` turns Celery's id into a part's key."""

    def __init__(self, key_of: Callable[[str], str], most: int, most_edges: int) -> None:
        self.parts: dict[str, Planned] = {}
        self.if_fails: set[str] = set()
        self.more = False
        self._key_of, self._most, self._edges_left = key_of, most, most_edges
        self._numbers: dict[str, int] = {}

    def follow(self, key: str, embed: Mapping[str, Any]) -> None:
        """Add what follows a part that is sent."""
        before = [key]
        # Celery takes the steps from the end.
        for step in reversed(_list(embed.get("chain"))):
            before = self._place(before, step, "next", 0)
        self._call_back(key, embed.get("callbacks"), embed.get("errbacks"), 0)

    def join(self, parts: Sequence[str], body: Mapping[str, Any]) -> list[str]:
        """Add the body of a chord of these parts; return the keys of its last tasks."""
        return self._place(parts, body, "join", 0)

    def _place(self, before: Sequence[str], signature: Any, kind: str, depth: int) -> list[str]:
        """Add a signature after some parts; return the keys of its last tasks."""
        if not isinstance(signature, dict) or depth > _DEEPEST:
            self.more |= depth > _DEEPEST
            return list(before)
        compound, kwargs = signature.get("subtask_type"), _object(signature.get("kwargs"))
        if compound == "chain":
            for step in _list(kwargs.get("tasks")):
                before = self._place(before, step, kind, depth + 1)
                kind = "next"
            return list(before)
        if compound == "group":
            return self._place_all(before, _list(kwargs.get("tasks")), kind, depth)
        if compound == "chord":
            parts = self._place_all(before, _header(kwargs), kind, depth)
            return self._place(parts, kwargs.get("body"), "join", depth + 1)
        return self._add(before, signature, kind, depth)

    def _place_all(self, before: Sequence[str], signatures: Sequence[Any], kind: str, depth: int) -> list[str]:
        last = [key for signature in signatures for key in self._place(before, signature, kind, depth + 1)]
        return list(dict.fromkeys(last))

    def _add(self, before: Sequence[str], signature: Mapping[str, Any], kind: str, depth: int) -> list[str]:
        options = _object(signature.get("options"))
        key = self._key(before, options)
        is_new = key not in self.parts
        if is_new and len(self.parts) >= self._most:
            self.more = True
            return list(before)
        part = self.parts.setdefault(key, Planned(key, name_of(signature), self._group(options)))
        self._connect(part, before, kind)
        if not is_new:
            return [key]
        if options.get("chord"):
            self._place([key], options["chord"], "join", depth + 1)
        self._call_back(key, options.get("link"), options.get("link_error"), depth)
        return [key]

    def _connect(self, part: Planned, before: Sequence[str], kind: str) -> None:
        known = before[: self._edges_left]
        self.more |= len(known) < len(before)
        self._edges_left -= len(known)
        part.after.update(dict.fromkeys((other, kind) for other in known))

    def _call_back(self, key: str, callbacks: Any, errbacks: Any, depth: int) -> None:
        for callback in _several(callbacks):
            self._place([key], callback, "callback", depth + 1)
        self.if_fails.update(name_of(errback) for errback in _several(errbacks) if isinstance(errback, dict))

    def _key(self, before: Sequence[str], options: Mapping[str, Any]) -> str:
        """Return the key of a signature's task; one without an id gets it only when it is sent."""
        id_ = options.get("task_id")
        if isinstance(id_, str) and id_:
            return self._key_of(id_)
        place = before[0] if before else ""
        self._numbers[place] = self._numbers.get(place, 0) + 1
        return f"{place}/{self._numbers[place]}"

    def _group(self, options: Mapping[str, Any]) -> str:
        # Without an index it is the body of the group's chord.
        group = options.get("group_id") if options.get("group_index") is not None else None
        return self._key_of(group) if isinstance(group, str) and group else ""


def name_of(signature: Mapping[str, Any]) -> str:
    """Return the name of a signature's task; for a map, also that of the task which it runs."""
    name = signature.get("task")
    text = name[:_NAME_KEPT] if isinstance(name, str) else ""
    if text in _MAPS:
        inner = _object(_object(signature.get("kwargs")).get("task")).get("task")
        return f"{text} of {inner}"[:_NAME_KEPT] if isinstance(inner, str) else text
    return text


def first_ids(signature: Mapping[str, Any], depth: int = 0) -> list[str]:
    """Return Celery's ids of the tasks with which a signature begins, as far as they are set."""
    compound, kwargs = signature.get("subtask_type"), _object(signature.get("kwargs"))
    if depth > _DEEPEST:
        return []
    if compound in ("chain", "group", "chord"):
        parts = _header(kwargs) if compound == "chord" else _list(kwargs.get("tasks"))
        parts = parts[:1] if compound == "chain" else parts
        return [id_ for part in parts if isinstance(part, dict) for id_ in first_ids(part, depth + 1)]
    id_ = _object(signature.get("options")).get("task_id")
    return [id_] if isinstance(id_, str) and id_ else []


def _header(kwargs: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a chord: its header is a group, or a list."""
    header = kwargs.get("header")
    return _list(_object(header.get("kwargs")).get("tasks")) if isinstance(header, dict) else _list(header)


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, dict) else _list(value)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
