"""Names in URLs: how the name of a worker, a queue, a task or a host stands in a path, whatever it is.

Celery, kombu and Docker take almost any text for a name, and a path does not: `/` ends a segment, servers and proxies decode
`%2F` and merge `//`, browsers drop `.` and `..`, and an empty segment is none. So each byte that a path might lose is written as
`~XX`, in hexadecimal, the empty name is `~`, and a tilde itself is `~7E`. All others stand as they are: the link to
`celery@host` or to the queue `reports` reads like its name.

A name that a program has percent-encoded is understood too, `team%2Fbilling` for `team/billing`; where such a path would mean
something else (`a/pause`), or be changed on its way, `~XX` says what is meant.
"""

import re
from typing import Final

from zenith_site.common.jsonsafe import require_storable

#: A segment that stands for the empty name.
_EMPTY: Final = "~"
#: What servers, proxies and browsers take for more than a character of a name.
_SPECIAL: Final = frozenset(" /\\?#%~")
_ESCAPED: Final = re.compile(r"(?:~[0-9A-F]{2})+")


def as_segment(name: str) -> str:
    """Return a name as one segment of a path, before percent-encoding; there is one for every text."""
    if name in {".", ".."}:
        return name.replace(".", "~2E")
    return "".join(map(_escaped, name)) or _EMPTY


def from_segment(segment: str) -> str:
    """Return the name that a segment of a path, or several, stand for; what only looks escaped is left as it is."""
    return "" if segment == _EMPTY else _ESCAPED.sub(_unescaped, segment)


class NameConverter:
    """The path converter `name`: `<name:worker>` in a route takes any name, and `reverse` never fails for one.

    It takes slashes as well, so of two routes the one with more behind the name has to stand first.
    """

    regex = r"[\s\S]+"

    def to_python(self, value: str) -> str:
        """Return the name. Raises ValueError, upon which the answer is 404, for what PostgreSQL cannot hold."""
        return require_storable(from_segment(value))

    def to_url(self, value: object) -> str:
        """Return the segment."""
        return as_segment(str(value))


def _escaped(character: str) -> str:
    if character.isprintable() and character not in _SPECIAL:
        return character
    return "".join(f"~{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _unescaped(found: re.Match[str]) -> str:
    try:
        return bytes.fromhex(found[0].replace("~", "")).decode()
    except UnicodeDecodeError:
        return found[0]
