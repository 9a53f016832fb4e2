"""Values as far as pages and lists show them: a task may have been sent with megabytes.

1. What is too long is cut: strings at their end, objects and lists behind the items that fit (`shorten`).
2. Secrets are hidden in what is left. That is safe where whole items were dropped, but not at the end of a cut string: whether
   `amqp://u:pass…` holds a password is seen at an `@` that is cut away. So `shorten_text` masks a bit more than it shows, and
   shows nothing of what only later characters could tell to be a secret.
3. PostgreSQL may give the beginning of a JSON text only, so that a list of large values reads none of them (`read_head`).
"""

import json
import re
from typing import Any, Final

from zenith_site.common.jsonsafe import STORED_DEPTH, TOO_DEEP
from zenith_site.common.masking import MASK, is_secret, mask_text
from zenith_site.common.secret_scanner import find_secrets

#: Characters that pages and lists show of one value.
SHOWN: Final = 8_000
#: Of a value that is asked for alone: a task's own answer in the API, and a value's own page.
SHOWN_ALONE: Final = 1_000_000
#: Of a value in a form, to be edited.
EDITED: Final = 100_000
#: Of a message in a row of a table.
ROW: Final = 500
ELLIPSIS: Final = "…"

#: Characters behind what is shown that are looked at, too: no name, scheme or quote that begins a secret is longer.
_MARGIN: Final = 500
_URL: Final = re.compile(r":(?:\\?/){2}|%3a%2f%2f", re.IGNORECASE)
#: Neither the password in a URL nor what stands before it has anything else in it.
_URL_RUN: Final = re.compile(r"""[^\s'"<>]*+""")
_ELEMENT: Final = re.compile(r"<(?P<name>[\w.:-]+)(?:\s[^<>]*)?>(?P<content>(?:<!\[CDATA\[)?[^<]*)\Z")
_TOKEN: Final = re.compile(r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*+")|(?P<mark>[\[\]{},:])|(?P<scalar>[^\s"\[\]{},:]+))', re.DOTALL)
_BROKEN_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")


def shorten_text(text: str, limit: int = SHOWN, *, more: bool = False) -> str:
    """Return the beginning of a text, its secrets hidden, and an ellipsis if something is left out.

    Args:
        text: any text.
        limit: how many of its characters are shown at most.
        more: the text itself is the beginning of a longer one.
    """
    if len(text) <= limit and not more:
        return mask_text(text)
    window = text[: limit + _MARGIN]
    end = limit
    if more or len(window) < len(text):
        end = max(0, min(limit, len(window) - _MARGIN, _undecided(window)))
    parts: list[str] = []
    shown = 0
    for start, stop in find_secrets(window, is_secret):
        if start >= end:
            break
        parts += window[shown:start], MASK
        shown = stop
    return "".join((*parts, window[shown:end], ELLIPSIS))


def _undecided(window: str) -> int:
    """Return from where on it takes what follows a text to tell whether it is a secret."""
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
    """Return as much of a JSON value as so many characters hold, and whether something was left out.

    A string that was cut has its secrets hidden, and ends with an ellipsis; whatever else is left is for `mask`.
    """
    cutter = _Cutter(limit)
    return cutter.value(value, STORED_DEPTH), cutter.cut


class _Cutter:
    """Takes of a value what fits."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self.cut = False

    def value(self, value: Any, levels: int) -> Any:
        """Return what fits of a value."""
        if isinstance(value, str):
            return self._text(value)
        if not isinstance(value, dict | list | tuple):
            self._left -= len(str(value)) if isinstance(value, float) else 8
            return value
        self._left -= 2
        if not levels:
            return TOO_DEEP
        if isinstance(value, dict):
            return self._object(value, levels)
        found = []
        for item in value:
            if self._full():
                break
            found.append(self.value(item, levels - 1))
        return found

    def _object(self, value: dict[Any, Any], levels: int) -> dict[Any, Any]:
        found = {}
        for name, item in value.items():
            self._left -= len(str(name)) + 4
            if self._full():
                break
            found[name] = self.value(item, levels - 1)
        return found

    def _text(self, text: str) -> str:
        room = max(self._left, 0)
        self._left -= len(text) + 4
        if len(text) <= room:
            return text
        self.cut = True
        return shorten_text(text, room)

    def _full(self) -> bool:
        self.cut = self.cut or self._left <= 0
        return self._left <= 0


def kept_of(limit: int) -> int:
    """Return how much of a JSON text to read so that `limit` characters of its value can be shown."""
    return 2 * (limit + _MARGIN)


def read_head(text: str, kept: int) -> tuple[Any, bool]:
    """Return the value of a JSON text, or what its first `kept` characters hold of it, and whether it is longer.

    Raises ValueError or RecursionError for a text that is no JSON.
    """
    if len(text) <= kept:
        return json.loads(text), False
    text = text[:kept]
    closing: list[str] = []
    # The text up to the end of the newest item that is whole, and what closes it there.
    whole, before, position = "", "", 0
    while (found := _TOKEN.match(text, position)) and (found["scalar"] is None or found.end() < len(text)):
        mark = found["mark"] or ""
        if mark in ("[", "{"):
            closing.append("]" if mark == "[" else "}")
        elif mark in ("]", "}"):
            if closing[-1:] != [mark]:
                raise ValueError("no JSON: closes what it has not opened")
            closing.pop()
        position = found.end()
        is_name = found["string"] is not None and closing[-1:] == ["}"] and before in ("{", ",")
        if mark not in (",", ":") and not is_name:
            whole = text[:position] + "".join(reversed(closing))
        before = mark or "value"
    rest = text[position:].lstrip()
    if rest.startswith('"') and (not closing or closing[-1] == "]" or before == ":"):
        begun = json.loads(_BROKEN_ESCAPE.sub("", rest) + '"')
        string = json.dumps(shorten_text(begun, len(begun), more=True))
        whole = text[: len(text) - len(rest)] + string + "".join(reversed(closing))
    return json.loads(whole or "null"), True
