"""Hiding secrets in what is shown: arguments, results and errors, for everyone and on every surface.

A value is hidden for the name it stands under, in an object or in a task's signature. A name matches
a pattern as a whole; in a pattern `*` stands for anything; case, `_`, `-` and other punctuation count
on neither side, so `*apikey*` finds `api_key`, `apiKey` and `X-API-Key`. Text, which messages and tracebacks
are and every string of an argument or a result is, is searched by `secret_scanner`.
A secret that stands under a harmless name, or under none, is not found: nothing can know it.
"""

import json
import re
import string
from collections.abc import Iterator, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

from django.conf import settings

from zenith_site.common import secret_values
from zenith_site.common.errors import Problem
from zenith_site.common.jsonsafe import STORED_DEPTH, TOO_DEEP
from zenith_site.common.secret_scanner import find_secrets

MASK: Final = secret_values.MASK
#: Always hidden; ZENITH_MASK_KEYS adds more. `max_tokens` is no secret, which is why `token` stands at the end.
PATTERNS: Final = (
    "*password*", "*passwd*", "*passphrase*", "pwd", "*secret*", "*token", "tokens", "*apikey*", "*accesskey*",
    "*privatekey*", "*authorization*", "*credential*", "*cookie*", "*sessionid",
)  # fmt: skip

_OPTION: Final = re.compile(r"-[\w.-]+")
_NOT_WORD: Final = re.compile(r"[^0-9a-z*]+")
_PUNCTUATION: Final = bytes(set(range(128)) - set((string.digits + string.ascii_lowercase).encode()))
#: What `secret_scanner` needs beside a letter; most short strings have none of it.
_MAY_BIND: Final = re.compile(r"[=:<%,\s]")
#: What hides a secret without a name, but for URLs: the schemes of HTTP and an encoded `://`.
_NAMELESS: Final = (b"bearer", b"basic", b"privatekey", b"3a2f2f")


def is_secret(name: str) -> bool:
    """Return whether a value under this name is hidden."""
    return _matches(name[:200], _more_names())


def mask(value: Any) -> Any:
    """Return a JSON value with its secrets hidden: under a secret's name at any depth, and in strings.

    Null stays null. What lies deeper than STORED_DEPTH is replaced by a marker.
    """
    return _masked(value, STORED_DEPTH)


def _masked(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return mask_text(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if not levels:
        return TOO_DEEP
    if isinstance(value, dict):
        return {_key(name): _hidden(item) if is_secret(str(name)) else _masked(item, levels - 1) for name, item in value.items()}
    shown = [_masked(item, levels - 1) for item in value]
    for index in _option_values(value):
        shown[index] = _hidden(value[index])
    return shown


def _key(name: Any) -> Any:
    return mask_text(name) if isinstance(name, str) else name


def _option_values(items: Sequence[Any]) -> list[int]:
    """Return where the values of options that are secrets stand, as in `["mysql", "--password", "x"]`."""
    options = [index for index, item in enumerate(items[:-1]) if isinstance(item, str) and _is_option(item) and is_secret(item)]
    return [index + 1 for index in options if not (isinstance(items[index + 1], str) and _is_option(items[index + 1]))]


def _is_option(item: str) -> bool:
    return item.startswith("-") and _OPTION.fullmatch(item) is not None


def mask_problems(value: Any, pointer: str) -> Iterator[Problem]:
    """Yield a problem for each place where the mask itself stands in place of a secret.

    Whoever edits what was shown and sends it back must not put the mask where the secret was.
    """
    for where in _masked_places(value, pointer, STORED_DEPTH):
        yield Problem(where, f"{MASK!r} is shown in place of a secret: send the secret, or leave the argument as it was")


def _masked_places(value: Any, pointer: str, levels: int) -> Iterator[str]:
    if isinstance(value, str):
        if MASK in value and any(value[start:end] == MASK for start, end in find_secrets(value, is_secret)):
            yield pointer
    elif isinstance(value, dict) and levels:
        for name, item in value.items():
            here = f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
            if item == MASK and is_secret(str(name)):
                yield here
            else:
                yield from _masked_places(item, here, levels - 1)
    elif isinstance(value, list | tuple) and levels:
        for index, item in enumerate(value):
            yield from _masked_places(item, f"{pointer}/{index}", levels - 1)


def mask_positional(args: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Return positional arguments, hidden where the parameter in that place has a secret's name."""
    known = [*names[: len(args)], *[""] * (len(args) - len(names))]
    return [_hidden(item) if is_secret(name) else mask(item) for item, name in zip(args, known, strict=True)]


def mask_text(text: str) -> str:
    """Return a text with the secrets in it hidden."""
    if not _may_hold_secret(text):
        return text
    parts: list[str] = []
    shown = 0
    for start, end in find_secrets(text, is_secret):
        parts += text[shown:start], MASK
        shown = end
    return "".join((*parts, text[shown:]))


def mask_json(text: str) -> str:
    """Return JSON text with its secrets hidden; text that is no JSON, or is nested too deep to read, is taken as a message."""
    # An escaped letter may be part of a name.
    if "\\u" not in text and not _may_hold_secret(text):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return mask_text(text)
    masked = mask(value)
    return text if masked == value else json.dumps(masked)


def _may_hold_secret(text: str) -> bool:
    """Return whether the letters of a secret's name occur at all: a cheap look that lets most texts pass."""
    if not _MAY_BIND.search(text):
        return False
    if "@" in text and ("://" in text or ":\\/\\/" in text):
        return True
    letters = text.lower().encode("ascii", "ignore").translate(None, _PUNCTUATION)
    return _needles(_more_names()).search(letters) is not None


def _hidden(value: Any) -> Any:
    return None if value is None else MASK


def _more_names() -> tuple[str, ...]:
    return tuple(settings.ZENITH_MASK_KEYS)


@lru_cache(maxsize=10_000)
def _matches(name: str, more: tuple[str, ...]) -> bool:
    squeezed = _squeeze(name).replace("*", "")
    return bool(squeezed) and _pattern(more).match(squeezed) is not None


@lru_cache(maxsize=16)
def _pattern(more: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in _squeezed_patterns(more)))


@lru_cache(maxsize=16)
def _needles(more: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return a pattern of what a text has to hold, its punctuation aside, to hold a secret: the longest part of each pattern."""
    longest = {max(pattern.split("*"), key=len).encode() for pattern in _squeezed_patterns(more)}
    return re.compile(b"|".join(sorted({*longest, *_NAMELESS})))


def _squeezed_patterns(more: tuple[str, ...]) -> list[str]:
    return [squeezed for pattern in (*PATTERNS, *more) if (squeezed := _squeeze(pattern))]


def _squeeze(name: str) -> str:
    return _NOT_WORD.sub("", name.lower())
