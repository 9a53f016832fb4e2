"""Masks secrets in everything that is shown: arguments, results and errors, for everyone.

A value is masked because of its name, in an object or in a task's signature. A name must match a pattern as a whole; `*` in a
pattern matches anything. Case, `_`, `-` and other punctuation are ignored, so `*apikey*` matches `api_key`, `apiKey` and
`X-API-Key`. `secret_scanner` searches text: messages, tracebacks, and every string in arguments and results. A secret under a
harmless name, or under none, is not found.
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
#: Always masked; ZENITH_MASK_KEYS adds more. `max_tokens` is no secret, so `token` matches only at the end of a name.
PATTERNS: Final = (
    "*password*", "*passwd*", "*passphrase*", "pwd", "*secret*", "*token", "tokens", "*apikey*", "*accesskey*",
    "*privatekey*", "*authorization*", "*credential*", "*cookie*", "*sessionid",
)  # fmt: skip

_OPTION: Final = re.compile(r"-[\w.-]+")
_NOT_WORD: Final = re.compile(r"[^0-9a-z*]+")
_PUNCTUATION: Final = bytes(set(range(128)) - set((string.digits + string.ascii_lowercase).encode()))
#: One of these must be in a text for `secret_scanner` to find anything; most short strings have none.
_MAY_BIND: Final = re.compile(r"[=:<%,\s]")
#: What marks a secret without a name, except in URLs: HTTP's authentication schemes and an encoded `://`.
_NAMELESS: Final = (b"bearer", b"basic", b"privatekey", b"3a2f2f")


def is_secret(name: str) -> bool:
    """Return whether a value under this name is masked."""
    return _matches(name[:200], _more_names())


def mask(value: Any) -> Any:
    """Return a JSON value with its secrets masked: under a secret's name at any depth, and in strings.

    Null stays null. A marker replaces what is deeper than STORED_DEPTH.
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
    items = [_masked(item, levels - 1) for item in value]
    for index in _option_values(value):
        items[index] = _hidden(value[index])
    return items


def _key(name: Any) -> Any:
    return mask_text(name) if isinstance(name, str) else name


def _option_values(items: Sequence[Any]) -> list[int]:
    """Return the indexes of secret options' values, as in `["mysql", "--password", "x"]`."""
    options = [index for index, item in enumerate(items[:-1]) if isinstance(item, str) and _is_option(item) and is_secret(item)]
    return [index + 1 for index in options if not (isinstance(items[index + 1], str) and _is_option(items[index + 1]))]


def _is_option(item: str) -> bool:
    return item.startswith("-") and _OPTION.fullmatch(item) is not None


def mask_problems(value: Any, pointer: str) -> Iterator[Problem]:
    """Yield a problem for each place where the value is the mask instead of a secret.

    Somebody who edits a shown value and sends it back must not overwrite the secret with the mask.
    """
    for where in _masked_places(value, pointer, STORED_DEPTH):
        yield Problem(where, f"{MASK!r} stands for a masked secret: send the secret itself, or leave the argument unchanged")


def _masked_places(value: Any, pointer: str, levels: int) -> Iterator[str]:
    if isinstance(value, str):
        if MASK in value and any(value[start:end] == MASK for start, end in find_secrets(value, is_secret)):
            yield pointer
    elif isinstance(value, dict) and levels:
        for name, item in value.items():
            item_pointer = f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
            if item == MASK and is_secret(str(name)):
                yield item_pointer
            else:
                yield from _masked_places(item, item_pointer, levels - 1)
    elif isinstance(value, list | tuple) and levels:
        for index, item in enumerate(value):
            yield from _masked_places(item, f"{pointer}/{index}", levels - 1)


def mask_positional(args: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Return positional arguments, masked if the parameter in that place has a secret's name."""
    padded_names = [*names[: len(args)], *[""] * (len(args) - len(names))]
    return [_hidden(item) if is_secret(name) else mask(item) for item, name in zip(args, padded_names, strict=True)]


def mask_text(text: str) -> str:
    """Return a text with its secrets masked."""
    if not _may_hold_secret(text):
        return text
    parts: list[str] = []
    position = 0
    for start, end in find_secrets(text, is_secret):
        parts += text[position:start], MASK
        position = end
    return "".join((*parts, text[position:]))


def mask_json(text: str) -> str:
    """Return JSON text with its secrets masked; text that is not JSON, or is nested too deeply, is masked as a message."""
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
    """Return whether the letters of a secret's name occur at all: a cheap check that clears most texts."""
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
    """Return a pattern that must match a text, without its punctuation, for it to hold a secret: each pattern's longest part."""
    longest = {max(pattern.split("*"), key=len).encode() for pattern in _squeezed_patterns(more)}
    return re.compile(b"|".join(sorted({*longest, *_NAMELESS})))


def _squeezed_patterns(more: tuple[str, ...]) -> list[str]:
    return [squeezed for pattern in (*PATTERNS, *more) if (squeezed := _squeeze(pattern))]


def _squeeze(name: str) -> str:
    return _NOT_WORD.sub("", name.lower())
