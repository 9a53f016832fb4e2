"""Finding secrets in text: in messages, in tracebacks, and in the strings of arguments and results.

1. One pattern scans the text from left to right and stops wherever a secret may follow: at a name before `=` or `:`, a command
   line's option, a URL with a password, `Bearer` and `Basic`, a private key, an XML element.
2. If the name is a secret's, `secret_values` says where its value ends. The value is masked, and the search continues after it.
3. If not, the search continues right after the name: in `login failed: password=x` the value begins with another name.

A name followed only by white space is prose: `password is wrong` and `PASSWORD hunter2` stay as they are, since nothing
distinguishes the second from `TOKEN expired`. A quoted word after a name is masked (`PASSWORD 'hunter2'`, as in SQL), and so is
what follows an option (`--password hunter2`).
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from zenith_site.common.secret_values import Extent, Place, Span, value_span

#: How far back the start of a line is searched; a name farther to the right does not begin its line.
_MAX_INDENT: Final = 80
_MAX_NAME: Final = 200

# At most characters the two lookaheads fail at once, which keeps the scan fast.
_CANDIDATE: Final = re.compile(
    r"""
    (?=[:%<])(?:
        # The slashes of a URL may be escaped (JSON) or encoded. What looks like a port is one, and no password.
        :(?:\\?/){2}[^\s/:@'"<>\[\]]*+:(?!\d+(?:[/?\#,;&)\]}\s'"\\]|\Z))
          (?P<password>(?:[^\s/'"<>]+|(?:(?!:\\?/\\?/)[^\s'"<>])+)(?=@))
        | %3[Aa]%2[Ff]%2[Ff](?:(?!%3[Aa]|%2[Ff]|%40)[^\s'"<>&])*+%3[Aa](?P<encoded>(?:(?!%2[Ff])[^\s'"<>&])+?)(?=%40)
        | <(?P<element>[\w.:-]++)(?:\s[^<>]*+)?(?<!/)>(?P<content>(?:<!\[CDATA\[)?[^<]++(?=</))
    )
    | (?<!\w)(?:
        -----BEGIN\ [A-Z ]{0,40}PRIVATE\ KEY-----(?P<key>)
        | (?<![.-])(?P<name>[\w.-]++)(?:
            (?P<close>(?:\[[^\[\]\s]{0,40}\])?(?:\\{0,63}["'`]|%(?:25){0,5}2[27])?\]?)
            (?P<separator>\s*+(?:[=!]==?|=>|:=|[=:]|%(?:25){0,5}3[ADad]))
            | (?P<gap>[ \t]++)(?=["'][^"'\s]{3}))
        | (?<![.-])(?P<option>-[\w.-]++)(?:\\{0,63}["'`]\s*+,\s*+|[ \t]++)(?!["'`]?-)(?=\S)
        | (?i:Bearer|Basic)\s++(?P<credentials>[\w.~+/=-]{6,})
    )
    """,
    re.VERBOSE,
)
_KEY_BODY: Final = re.compile(r"(?:(?!-----END).)*+", re.DOTALL)
# Read with the name, though no part of it: the end of an escaped newline, or of an encoded character.
_ESCAPE: Final = re.compile(r"(?<=\\)[nrt](?=.)|(?<=%)(?:25)*+[0-9a-f]{2}(?=.)", re.IGNORECASE)
# `InvalidToken: …` heads a traceback; to hide its whole line would hide what went wrong.
_BEGINS_LINE: Final = re.compile(r"[a-z0-9_.-][\w.-]*|[A-Z0-9_.-]+|[A-Z][a-z0-9]*(?:-[A-Z0-9][a-z0-9]*)*")
_HEADER: Final = re.compile(r".*(?:authorization|cookie)", re.IGNORECASE)


def find_secrets(text: str, is_secret: Callable[[str], bool]) -> Iterator[Span]:
    """Yield the start and end of each secret in a text, in order.

    Args:
        text: any text.
        is_secret: says whether a value under this name is a secret.
    """
    position = 0
    while candidate := _CANDIDATE.search(text, position):
        span = _hidden_span(text, candidate, is_secret)
        if span is None:
            position = max(candidate.start() + 1, candidate.end("name"), candidate.end("option"))
        else:
            yield span
            position = span[1]


def _hidden_span(text: str, candidate: re.Match[str], is_secret: Callable[[str], bool]) -> Span | None:
    group = candidate.lastgroup or ""
    if group in ("password", "encoded", "credentials"):
        return candidate.span(group)
    if group == "key":
        return _key_span(text, candidate.end())
    name_group = {"content": "element", "option": "option"}.get(group, "name")
    if not any(map(is_secret, _names(text, *candidate.span(name_group)))):
        return None
    if group == "content":
        return candidate.span(group)
    return value_span(text, candidate.end(), _place(text, candidate) if group == "separator" else Place())


def _key_span(text: str, start: int) -> Span | None:
    body = _KEY_BODY.match(text, start)
    return body.span() if body and body[0] else None


def _names(text: str, start: int, end: int) -> Iterator[str]:
    """Yield the names that a run of letters, digits, dots and dashes may stand for."""
    yield text[start : min(end, start + _MAX_NAME)]
    if escape := _ESCAPE.match(text, start, end):
        yield text[escape.end() : min(end, escape.end() + _MAX_NAME)]
    last = max(text.rfind(".", start, end), text.rfind(":", start, end)) + 1
    if last > start or end - start > _MAX_NAME:
        yield text[max(last, start, end - _MAX_NAME) : end]


def _place(text: str, candidate: re.Match[str]) -> Place:
    separator = _kind(candidate["separator"])
    if candidate["close"]:
        return Place(separator=separator)
    indent = _indent(text, candidate.start("name"))
    name = text[max(candidate.start("name"), candidate.end("name") - _MAX_NAME) : candidate.end("name")]
    if separator == ":" and _HEADER.match(name):
        return Place(Extent.HEADER, separator, indent)
    if indent is not None and _fills_line(text, candidate, name, separator):
        return Place(Extent.LINE, separator, indent)
    return Place(separator=separator)


def _kind(separator: str) -> str:
    mark = separator.strip()
    if mark.startswith("%"):
        return f"%{mark.count('25')}"
    return ":" if mark == ":" else "="


def _indent(text: str, start: int) -> int | None:
    """Return the column of a name that begins its line, apart from a list's dash; None if it does not."""
    head = text[max(0, start - _MAX_INDENT) : start]
    line = head.rfind("\n") + 1
    if not line and start > _MAX_INDENT:
        return None
    return None if head[line:].strip(" \t-") else len(head) - line


def _fills_line(text: str, candidate: re.Match[str], name: str, separator: str) -> bool:
    """Return whether a line that begins with this name looks like `name: value`, `name = value` or `NAME=value`."""
    if not _BEGINS_LINE.fullmatch(name.rpartition(".")[2]):
        return False
    spaced = candidate["separator"][0].isspace() and text[candidate.end() : candidate.end() + 1].isspace()
    return separator == ":" or (separator == "=" and (spaced or name == name.upper()))
