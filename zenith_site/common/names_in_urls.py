"""Encodes any name of a worker, a queue, a task or a host as a segment of a URL's path.

Celery, kombu and Docker accept almost any text as a name, but a path does not: `/` ends a segment, servers and proxies decode
`%2F` and merge `//`, browsers drop `.` and `..`, and an empty segment is lost. So each byte that a path might lose is written as
`~XX` in hexadecimal, the empty name is `~`, and a tilde is `~7E`. Everything else stays as it is: the link to `celery@host` or to
the queue `reports` reads like its name.

A percent-encoded name from a program works too, `team%2Fbilling` for `team/billing`. If such a path would mean something else
(`a/pause`), or would be changed on its way, `~XX` is unambiguous.
"""

import re
from typing import Final

from zenith_site.common.jsonsafe import require_storable

#: The segment for the empty name.
_EMPTY: Final = "~"
#: Characters with a meaning for servers, proxies or browsers.
_SPECIAL: Final = frozenset(" /\\?#%~")
_ESCAPED: Final = re.compile(r"(?:~[0-9A-F]{2})+")


def as_segment(name: str) -> str:
    """Return any name as one segment of a path, before percent-encoding."""
    if name in {".", ".."}:
        return name.replace(".", "~2E")
    return "".join(map(_escaped, name)) or _EMPTY


def from_segment(segment: str) -> str:
    """Return the name that one or more segments of a path stand for; text that only looks escaped stays as it is."""
    return "" if segment == _EMPTY else _ESCAPED.sub(_unescaped, segment)


class NameConverter:
    """The path converter `name`: `<name:worker>` in a route matches any name, and `reverse` works for every name.

    It matches slashes too, so a route with more behind the name must come before the one without.
    """

    regex = r"[\s\S]+"

    def to_python(self, value: str) -> str:
        """Return the name. Raises ValueError, which Django answers with 404, if PostgreSQL cannot store it."""
        return require_storable(from_segment(value))

    def to_url(self, value: object) -> str:
        """Return the segment."""
        return as_segment(str(value))


def _escaped(character: str) -> str:
    if character.isprintable() and character not in _SPECIAL:
        return character
    return "".join(f"~{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _unescaped(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[0].replace("~", "")).decode()
    except UnicodeDecodeError:
        return match[0]
