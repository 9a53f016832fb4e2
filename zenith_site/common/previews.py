"""Shortens values for pages and lists: a task's arguments may have megabytes.

1. Long values are cut: strings at their end, objects and lists after the items that fit (`shorten`).
2. Secrets in the rest are masked. That is safe if whole items were dropped, but not at the end of a cut string: only an `@` that
   was cut off tells that `amqp://u:pass…` holds a password. So `shorten_text` searches a bit more than it shows, and leaves out
   what only later characters could identify as a secret.
3. A list can read only the beginning of each JSON text from PostgreSQL, not whole large values (`read_head`).
"""

import json
import re
from typing import Any, Final

from zenith_site.common.jsonsafe import STORED_DEPTH, TOO_DEEP
from zenith_site.common.masking import MASK, is_secret, mask_text
from zenith_site.common.secret_scanner import find_secrets

#: Characters that pages and lists show of one value.
SHOWN: Final = 8_000
#: Of a value shown alone: in the API's answer for one task, and on the value's own page.
SHOWN_ALONE: Final = 1_000_000
#: Of a value that is edited in a form.
EDITED: Final = 100_000
#: Of a message in a row of a table.
ROW: Final = 500
ELLIPSIS: Final = "…"

#: Characters beyond the shown ones that are searched too: no name, scheme or quote that begins a secret is longer.
_MARGIN: Final = 500
_URL: Final = re.compile(r":(?:\\?/){2}|%3a%2f%2f", re.IGNORECASE)
#: The characters of a URL up to the end of its password.
_URL_RUN: Final = re.compile(r"""[^\s'"<>]*+""")
_ELEMENT: Final = re.compile(r"<(?P<name>[\w.:-]+)(?:\s[^<>]*)?>(?P<content>(?:<!\[CDATA\[)?[^<]*)\Z")
_TOKEN: Final = re.compile(r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*+")|(?P<mark>[\[\]{},:])|(?P<scalar>[^\s"\[\]{},:]+))', re.DOTALL)
_BROKEN_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")


def shorten_text(text: str, limit: int = SHOWN, *, more: bool = False) -> str:
    """Return the beginning of a text with its secrets masked, and an ellipsis if something is left out.

    Args:
        text: any text.
        limit: how many of its characters are shown at most.
        more: whether the text itself is the beginning of a longer one.
    """
    if len(text) <= limit and not more:
        return mask_text(text)
    window = text[: limit + _MARGIN]
    end = limit
    if more or len(window) < len(text):
        end = max(0, min(limit, len(window) - _MARGIN, _undecided(window)))
    parts: list[str] = []
    position = 0
    for start, stop in find_secrets(window, is_secret):
        if start >= end:
            break
        parts += window[position:start], MASK
        position = stop
    return "".join((*parts, window[position:end], ELLIPSIS))


def _undecided(window: str) -> int:
    """Return the position from which only the text's continuation tells whether it is a secret."""
    run = _URL_RUN.match(window[::-1])
    url = _URL.search(window, len(window) - (run.end() if run else 0))
    undecided = url.end() if url else len(window)
    tag = window.rfind("<")
    if window.startswith("<![CDATA[", tag):
        tag = window.rfind("<", 0, tag)
    element = _ELEMENT.match(window, tag) if tag >= 0 else None
    if element and is_secret(element["name"].rpartition(":")[2].rpartition(".")[2]):
        undecided = min(undecided, element.start("content"))
    return undecided


def shorten(value: Any, limit: int = SHOWN) -> tuple[Any, bool]:
    """Return as much of a JSON value as fits into `limit` characters, and whether something was left out.

    A cut string has its secrets masked and ends with an ellipsis; `mask` is for the rest.
    """
    cutter = _Cutter(limit)
    return cutter.value(value, STORED_DEPTH), cutter.cut


class _Cutter:
    """Cuts a value to a number of characters."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self.cut = False

    def value(self, value: Any, levels: int) -> Any:
        """Return the part of a value that fits."""
        if isinstance(value, str):
            return self._text(value)
        if not isinstance(value, dict | list | tuple):
            self._room -= len(str(value)) if isinstance(value, float) else 8
            return value
        self._room -= 2
        if not levels:
            return TOO_DEEP
        if isinstance(value, dict):
            return self._object(value, levels)
        items = []
        for item in value:
            if self._is_full():
                break
            items.append(self.value(item, levels - 1))
        return items

    def _object(self, value: dict[Any, Any], levels: int) -> dict[Any, Any]:
        members = {}
        for name, item in value.items():
            self._room -= len(str(name)) + 4
            if self._is_full():
                break
            members[name] = self.value(item, levels - 1)
        return members

    def _text(self, text: str) -> str:
        room = max(self._room, 0)
        self._room -= len(text) + 4
        if len(text) <= room:
            return text
        self.cut = True
        return shorten_text(text, room)

    def _is_full(self) -> bool:
        self.cut = self.cut or self._room <= 0
        return self._room <= 0


def head_length(limit: int) -> int:
    """Return how many characters of a JSON text to read to show `limit` characters of its value."""
    return 2 * (limit + _MARGIN)


def read_head(text: str, kept: int) -> tuple[Any, bool]:
    """Return the value of a JSON text, or of its first `kept` characters, and whether it is longer.

    Raises ValueError or RecursionError if the text is not JSON.
    """
    if len(text) <= kept:
        return json.loads(text), False
    text = text[:kept]
    closing: list[str] = []
    # The text up to the end of the last complete item, and what closes it there.
    whole, before, position = "", "", 0
    while (token := _TOKEN.match(text, position)) and (token["scalar"] is None or token.end() < len(text)):
        mark = token["mark"] or ""
        if mark in ("[", "{"):
            closing.append("]" if mark == "[" else "}")
        elif mark in ("]", "}"):
            if closing[-1:] != [mark]:
                raise ValueError("not JSON: it closes a bracket that is not open")
            closing.pop()
        position = token.end()
        is_name = token["string"] is not None and closing[-1:] == ["}"] and before in ("{", ",")
        if mark not in (",", ":") and not is_name:
            whole = text[:position] + "".join(reversed(closing))
        before = mark or "value"
    rest = text[position:].lstrip()
    if rest.startswith('"') and (not closing or closing[-1] == "]" or before == ":"):
        beginning = json.loads(_BROKEN_ESCAPE.sub("", rest) + '"')
        string = json.dumps(shorten_text(beginning, len(beginning), more=True))
        whole = text[: len(text) - len(rest)] + string + "".join(reversed(closing))
    return json.loads(whole or "null"), True
