"""The JSON that Zenith accepts, so that every program and PostgreSQL read the same value back.

PostgreSQL's jsonb refuses NUL characters and lone surrogates; JavaScript and RFC 8259 ("Numbers",
section 6) promise exact integers only up to 2^53 - 1; NaN and infinities are not JSON.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from zenith_site.common.errors import InvalidJSONError, Problem

SAFE_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 32
#: Levels of nesting that are stored and shown of values that other code sent, and the marker for anything deeper. Workers report
#: no more levels (wire/events.py: MAX_DEPTH), so a task that is sent again is complete.
STORED_DEPTH: Final = 200
TOO_DEEP: Final = "… nested too deeply to be kept"
#: Problems that one error names at most; thousands would help nobody.
MAX_NAMED: Final = 20
_UNSAFE_INTEGER: Final = f"integers must lie within ±{SAFE_INTEGER}"


@dataclass(frozen=True, slots=True)
class _Refused:
    """A placeholder in a parsed value for one that is not accepted, until `problems` finds its place."""

    reason: str


def parse(raw: bytes) -> Any:
    """Return the value of a JSON text (RFC 8259), parsed more strictly than by `json.loads`.

    Raises InvalidJSONError for text that is not UTF-8 or not JSON, for NaN and infinities, for integers too long to convert, and
    for objects that hold a name twice (RFC 8259, section 4: programs disagree on which one counts). `problems` checks the rest.
    """
    try:
        return _parse(raw.decode())
    except UnicodeDecodeError as error:
        detail = f"not UTF-8: byte {error.start} starts no character"
    except json.JSONDecodeError as error:
        detail = f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except RecursionError:
        detail = f"nested more than {MAX_DEPTH} levels deep"
    raise InvalidJSONError(Problem("", detail))


def _parse(text: str) -> Any:
    refused: list[_Refused] = []

    def refuse(reason: str) -> _Refused:
        refused.append(_Refused(reason))
        return refused[-1]

    def integer(digits: str) -> Any:
        # Python itself refuses to convert some thousand digits.
        return int(digits) if len(digits) <= 20 else refuse(_UNSAFE_INTEGER)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            for name, times in Counter(name for name, _ in pairs).items():
                if times > 1:
                    members[name] = refuse(f"this name appears {times} times in one object")
        return members

    value = json.loads(
        text,
        parse_int=integer,
        parse_constant=lambda name: refuse(f"{name} is not JSON"),
        object_pairs_hook=unique,
    )
    if refused:
        raise InvalidJSONError(*islice(problems(value), MAX_NAMED))
    return value


def problems(value: Any, pointer: str = "", depth: int = 0) -> Iterator[Problem]:
    """Yield what is wrong with a JSON value, each with a JSON pointer to the culprit."""
    if isinstance(value, str):
        yield from _text_problems(value, pointer)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if abs(value) > SAFE_INTEGER:
            yield Problem(pointer, _UNSAFE_INTEGER)
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield Problem(pointer, "numbers must be finite")
        elif abs(value) > SAFE_INTEGER and value.is_integer() and abs(value) < 1e21:
            yield Problem(pointer, _UNSAFE_INTEGER)
    elif depth >= MAX_DEPTH:
        yield Problem(pointer, f"nested more than {MAX_DEPTH} levels deep")
    elif isinstance(value, dict):
        for key, item in value.items():
            item_pointer = f"{pointer}/{escape(str(key))}"
            yield from _text_problems(str(key), item_pointer)
            yield from problems(item, item_pointer, depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from problems(item, f"{pointer}/{index}", depth + 1)
    elif isinstance(value, _Refused):
        yield Problem(pointer, value.reason)
    else:
        yield Problem(pointer, f"a {type(value).__name__} is not JSON")


def escape(key: str) -> str:
    """Escape one reference token of a JSON pointer (RFC 6901, section 3)."""
    return key.replace("~", "~0").replace("/", "~1")


def storable_text(text: str) -> str:
    """Return text that PostgreSQL can store: NUL and lone surrogates become U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def require_storable(text: str) -> str:
    """Return `text` as it is. Raises ValueError if PostgreSQL cannot store it: it holds a NUL character or a lone surrogate."""
    for problem in _text_problems(text, ""):
        raise ValueError(problem.detail)
    return text


def storable(value: Any) -> str:
    """Return any value as JSON text that jsonb accepts; levels deeper than STORED_DEPTH are left out.

    It is for values that other code has sent already: they must be shown, and can no longer be refused.
    """
    return json.dumps(bounded(value), allow_nan=False, default=repr)


def bounded(value: Any, levels: int = STORED_DEPTH) -> Any:
    """Return a value that can be stored and shown: with at most so many levels, and text that is valid Unicode."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict | list | tuple) and not levels:
        return TOO_DEEP
    if isinstance(value, dict):
        return {storable_text(str(key)): bounded(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bounded(item, levels - 1) for item in value]
    return value


def _text_problems(text: str, pointer: str) -> Iterator[Problem]:
    if "\x00" in text:
        yield Problem(pointer, "NUL characters cannot be stored")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            yield Problem(pointer, "lone surrogates are not valid Unicode")
