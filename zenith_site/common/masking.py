"""Hiding secrets in what is shown: arguments, results and errors, for everyone and on every surface.

A value is hidden for the name it stands under, in an object or in a task's signature. A name matches
a pattern as a whole; in a pattern `*` stands for anything; case, `_`, `-` and other punctuation count
on neither side, so `*apikey*` finds `api_key`, `apiKey` and `X-API-Key`. In text, which tracebacks and messages
are, `name=value`, `name: value`, credentials after `Bearer` or `Basic` and passwords in URLs are found.
A secret that stands under a harmless name, or under none, is not found: nothing can know it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

from django.conf import settings

from zenith_site.common.errors import Problem

MASK: Final = "***"
#: Always hidden; ZENITH_MASK_KEYS adds more. `max_tokens` is no secret, which is why `token` stands at the end.
PATTERNS: Final = (
    "*password*", "*passwd*", "*passphrase*", "pwd", "*secret*", "*token", "tokens", "*apikey*", "*accesskey*",
    "*privatekey*", "*authorization*", "*credential*", "*cookie*", "*sessionid",
)  # fmt: skip

_NOT_WORD: Final = re.compile(r"[^0-9a-z*]+")
# A name, perhaps quoted, then = or :, then a value: quoted, or up to the next white space or bracket.
_ASSIGNED: Final = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]+)(?P<between>\\?["']?\s*[=:]\s*)
    (?P<value>\\?"(?:[^"\\\n]|\\(?!")[^\n])*\\?"|\\?'(?:[^'\\\n]|\\(?!')[^\n])*\\?'|(?:(?:Bearer|Basic)\s+)?[^\s"',;&)\]}]+)""",
    re.VERBOSE | re.IGNORECASE,
)
_CREDENTIALS: Final = re.compile(r"\b(?P<scheme>Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
_URL: Final = re.compile(r"(?P<start>[a-z][a-z0-9+.-]{0,20}://[^\s/:@'\"]{0,200}:)[^\s/@'\"]+@", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Return whether a value under this name is hidden."""
    return _matches(name, tuple(settings.ZENITH_MASK_KEYS))


def mask(value: Any) -> Any:
    """Return a JSON value with what stands under a secret's name hidden, at any depth; null stays null."""
    if isinstance(value, dict):
        return {name: _hidden(item) if is_secret(str(name)) else mask(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item) for item in value]
    return value


def mask_problems(value: Any, pointer: str) -> Iterator[Problem]:
    """Yield a problem for each place where the mask itself stands in place of a secret.

    Whoever edits what was shown and sends it back must not put the mask where the secret was.
    """
    for where in _masked_names(value, pointer):
        yield Problem(where, f"{MASK!r} is shown in place of a secret: send the secret, or leave the argument as it was")


def _masked_names(value: Any, pointer: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            here = f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
            if item == MASK and is_secret(str(name)):
                yield here
            else:
                yield from _masked_names(item, here)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _masked_names(item, f"{pointer}/{index}")


def mask_positional(args: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Return positional arguments, hidden where the parameter in that place has a secret's name."""
    known = [*names[: len(args)], *[""] * (len(args) - len(names))]
    return [_hidden(item) if is_secret(name) else mask(item) for item, name in zip(args, known, strict=True)]


def mask_text(text: str) -> str:
    """Return a message or a traceback with the secrets in it hidden."""
    text = _ASSIGNED.sub(_assigned, text)
    text = _CREDENTIALS.sub(lambda found: f"{found['scheme']} {MASK}", text)
    return _URL.sub(lambda found: f"{found['start']}{MASK}@", text)


def mask_json(text: str) -> str:
    """Return JSON text with its secrets hidden; text that is no JSON is taken as a message."""
    try:
        value = json.loads(text)
    except ValueError:
        return mask_text(text)
    masked = mask(value)
    return text if masked == value else json.dumps(masked)


def _hidden(value: Any) -> Any:
    return None if value is None else MASK


def _assigned(found: re.Match[str]) -> str:
    if not is_secret(found["name"]):
        return found[0]
    return f"{found['name']}{found['between']}{MASK}"


@lru_cache(maxsize=10_000)
def _matches(name: str, more: tuple[str, ...]) -> bool:
    squeezed = _squeeze(name[:200]).replace("*", "")
    return bool(squeezed) and _pattern(more).match(squeezed) is not None


@lru_cache(maxsize=16)
def _pattern(more: tuple[str, ...]) -> re.Pattern[str]:
    squeezed = filter(None, (_squeeze(pattern) for pattern in (*PATTERNS, *more)))
    return re.compile("|".join(translate(pattern) for pattern in squeezed))


def _squeeze(name: str) -> str:
    return _NOT_WORD.sub("", name.lower())
