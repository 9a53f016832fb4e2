"""What Celery's events say of values: Python's representations, cut by their sender.

They are shown as what they are, and are never exact: a tuple looks like a list afterwards, and an object is only its text.
"""

import ast
import json
import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

#: Characters of a representation that are looked at, and kept. Celery's own bound is 1,024.
KEPT: Final = 10_000
#: Levels of lists and dictionaries in arguments that are shown as such.
_LEVELS: Final = 20
#: The name under which keyword arguments stand that cannot be told apart.
UNREAD: Final = "**"
MESSAGE_KEPT: Final = 10_000
TRACEBACK_KEPT: Final = 100_000
_ERROR: Final = re.compile(r"([A-Za-z_][\w.]{0,200})\((.*)\)\Z", re.DOTALL)


class Raised(NamedTuple):
    """An error as events describe it."""

    type: str
    message: str


def arguments(text: Any) -> list[Any] | None:
    """Return positional arguments by their representation; as one text if they cannot be told apart, None if there is none.

    What is returned must not be changed: others may have it as well.
    """
    if not isinstance(text, str):
        # Clients in other languages send values.
        return [_shown(item, _LEVELS) for item in text] if isinstance(text, list | tuple) else None
    if text in ("()", "[]", ""):
        return []
    return _remembered_arguments(text) if len(text) <= _REMEMBERED_LENGTH else _arguments(text)


def keywords(text: Any) -> dict[str, Any] | None:
    """Return keyword arguments by their representation; as one text under UNREAD if they cannot be told apart.

    What is returned must not be changed: others may have it as well.
    """
    if not isinstance(text, str):
        return _shown(text, _LEVELS) if isinstance(text, dict) else None
    if text in ("{}", ""):
        return {}
    return _remembered_keywords(text) if len(text) <= _REMEMBERED_LENGTH else _keywords(text)


def _arguments(text: str) -> list[Any]:
    value = _literal(text)
    return [_shown(item, _LEVELS) for item in value] if isinstance(value, list | tuple) else [text[:KEPT]]


def _keywords(text: str) -> dict[str, Any]:
    value = _literal(text)
    return _shown(value, _LEVELS) if isinstance(value, dict) else {UNREAD: text[:KEPT]}


#: Reading a representation takes longer than all else that is done with an event, and the same one comes when a task is sent,
#: when it is received, and whenever it runs again. Texts within Celery's own bound are remembered, a thousand of them.
_REMEMBERED_LENGTH: Final = 1024
_remembered_arguments = lru_cache(maxsize=1000)(_arguments)
_remembered_keywords = lru_cache(maxsize=1000)(_keywords)


def result(text: Any) -> str | None:
    """Return a result's representation as the JSON of a text."""
    if text is None:
        return None
    return json.dumps(text[:KEPT] if isinstance(text, str) else repr(text)[:KEPT])


def raised(exception: Any, traceback: Any) -> Raised:
    """Return an error's type and message by its representation; the message as in its traceback, if that ends with the error."""
    text = exception if isinstance(exception, str) else repr(exception)
    match = _ERROR.match(text[:KEPT])
    if match is None:
        last = _last_line(traceback)
        type_, found, message = last.partition(":")
        if found and re.fullmatch(r"[\w.]{1,200}", type_):
            return Raised(type_.rpartition(".")[2], message.strip()[:MESSAGE_KEPT])
        return Raised("Exception", text[:MESSAGE_KEPT])
    type_, inner = match[1].rpartition(".")[2], match[2]
    return Raised(type_, _message(type_, inner, traceback)[:MESSAGE_KEPT])


def tail(traceback: Any) -> str | None:
    """Return the end of a traceback, which says most."""
    return traceback[-TRACEBACK_KEPT:] if isinstance(traceback, str) and traceback else None


def _message(type_: str, inner: str, traceback: Any) -> str:
    if isinstance(traceback, str):
        end = traceback[-MESSAGE_KEPT:]
        # `module.Type: message`, which may have several lines.
        if found := list(re.finditer(rf"^[\w.]*\b{re.escape(type_)}: ", end, re.MULTILINE)):
            return end[found[-1].end() :].strip()
    value = _literal(inner.rstrip(","))
    return value if isinstance(value, str) else inner


def _last_line(traceback: Any) -> str:
    return traceback.rstrip()[-MESSAGE_KEPT:].rpartition("\n")[2] if isinstance(traceback, str) else ""


def _literal(text: str) -> Any:
    """Return the value of a representation, or None if it is no plain literal or was cut."""
    if len(text) > KEPT:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _shown(value: Any, levels: int) -> Any:
    """Return a value as JSON can hold it: what it cannot hold, as text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        # Neither NaN, infinities nor numbers that no reader can hold.
        return value if abs(value) < 2**63 else repr(value)[:100]
    if levels and isinstance(value, dict):
        return {name if isinstance(name, str) else repr(name): _shown(item, levels - 1) for name, item in value.items()}
    if levels and isinstance(value, list | tuple):
        return [_shown(item, levels - 1) for item in value]
    return "…" if value is ... else repr(value)[:KEPT]
