"""What JSON may hold here, so that every program and PostgreSQL read the same value back.

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
#: Levels beyond which what other code has sent is neither kept nor shown, and what stands in their place. No worker tells of more
#: (wire/events.py: MAX_DEPTH), so what is sent again is whole.
STORED_DEPTH: Final = 200
TOO_DEEP: Final = "… nested too deeply to be kept"
#: How many culprits are named; one is enough to refuse, thousands help nobody.
MAX_NAMED: Final = 20
_UNSAFE_INTEGER: Final = f"integers must lie within ±{SAFE_INTEGER}"


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in a parsed value for what cannot be kept there, until `problems` finds where."""

    reason: str


def parse(raw: bytes) -> Any:
    """Return the value of JSON text (RFC 8259), read more strictly than `json.loads` does.

    Raises InvalidJSONError for text that is not UTF-8 or not JSON, for NaN and infinities, for
    integers too long to convert, and for objects that hold a name twice (RFC 8259, section 4:
    programs disagree on which one counts). What can be read is for `problems` to judge.
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
        found = dict(pairs)
        if len(found) != len(pairs):
            for name, times in Counter(name for name, _ in pairs).items():
                if times > 1:
                    found[name] = refuse(f"this name appears {times} times in one object")
        return found

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
            here = f"{pointer}/{escape(str(key))}"
            yield from _text_problems(str(key), here)
            yield from problems(item, here, depth + 1)
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
    """Return a value as JSON text that jsonb accepts, whatever it holds.

    Used for what other code has sent already: it must be shown, it can no longer be refused. What lies deeper than STORED_DEPTH
    is left out.
    """
    return json.dumps(bounded(value), allow_nan=False, default=repr)


def bounded(value: Any, levels: int = STORED_DEPTH) -> Any:
    """Return a value that everything which shows or stores it can take: so many levels, and text that is Unicode."""
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
