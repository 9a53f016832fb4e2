"""Finds where the value after a secret's name begins and ends in a text.

A value is a run of words, quoted strings, and brackets with their content; what follows decides where it ends. If that is
uncertain, the longer reading counts: an unclosed quote or bracket reaches to the end of the text.

The text is read forward, each character only a few times, so the time is linear in its length. Nothing recurses. The end of a
value depends on what follows it, not on the value, so masking a masked text does not change it.
"""

import re
from enum import Enum, auto
from functools import lru_cache
from typing import Final, NamedTuple

MASK: Final = "***"

Span = tuple[int, int]


class Extent(Enum):
    """How far a value without quotes and brackets may reach."""

    #: To white space or a separator, as in `f(password=x, user=u)` and `?token=x&user=u`.
    WORD = auto()
    #: To the end of the line or of the quotes around it, as in `-H 'Cookie: a=b; c=d'`.
    HEADER = auto()
    #: To the end of the line or the next name, as in YAML, INI files and the output of `env`.
    LINE = auto()


class Place(NamedTuple):
    """How a value is bound to its name.

    Attributes:
        extent: how far the value may reach.
        separator: `=`, `:`, or `%` and a digit: an encoded separator, and how many times its `%` was encoded again.
        indent: the column of the name, if only a list's dash precedes it in its line.
    """

    extent: Extent = Extent.WORD
    separator: str = "="
    indent: int | None = None


_QUOTE: Final = r"\\{0,63}[\"'`]"
#: A separator is only one if another name and its value follow: `;` and `&` may as well be part of a password.
_NAME: Final = rf"\s{{0,20}}(?:amp;)?[$-]{{0,2}}(?:{_QUOTE})?[\w.-]{{1,100}}+(?:\[[^\[\]\s]{{0,40}}\])?(?:{_QUOTE})?\]?\s{{0,20}}"
_ESCAPED_NEWLINE: Final = r"(?<!\\)\\{1,63}[nrt](?:\\{1,63}n)?"
# A password may hold brackets and quotes, too. They end a value if they are followed by an end or by more of them.
_CLOSED: Final = r"(?=[)\]}>\"'`\\]{0,8}+(?:[\s<)\]}>\"'`\\]|\.(?!\w)|[,;:&|](?=[\s\"'`\\{\[(]|\Z)|\Z))"
_QUOTE_ENDS: Final = rf"(?<!\\){_QUOTE}{_CLOSED}"
_PIECES: Final = rf"""
    (?P<quote>(?:(?<=[=+])|(?<![\w\\])(?={_QUOTE}\w)){_QUOTE})
    | (?P<bracket>[(\[{{])
"""

_SPACES: Final = re.compile(r"[ \t]*+")
_LINE_BREAK: Final = re.compile(r"[ \t]*+\r?\n")
_BLOCK: Final = re.compile(r"[ \t]*+[|>][+-]?\d?[ \t]*+\r?\n")
_LINE: Final = re.compile(r"(?P<indent>[ \t]*+)(?P<content>[^\n]*+)(?:\n|\Z)")
_ANY_SPACE: Final = re.compile(r"\s*+")
# On the next line: another name, or what Python prints around a line of code.
_NO_VALUE: Final = re.compile(rf'(?:{_NAME}[=:]|File "|Traceback \(|[~^]+\s)')
_OPENING: Final = re.compile(rf"(?:[bBrRuUfF]{{1,2}}(?=[\"']))?(?P<quote>{_QUOTE})")
# The quote closes what stands around the name, as in `input("Password: ")`.
_NOTHING: Final = re.compile(r"\\{0,63}([\"'`])(?=[)\]},;]|\s*+(?:\n|\Z))(?![^\n]*\1)")
_SCHEME: Final = re.compile(r"(?:Bearer|Basic|Digest|Token|Negotiate|NTLM|ApiKey|JWT)[ \t]++(?=[\w\"'])", re.IGNORECASE)
# The default behind an annotation, as in `password: str | None = "x"`.
_DEFAULT: Final = re.compile(r"(?:[ \t]*+\|[ \t]*+[\w.]++)*+[ \t]*+=(?!=)[ \t]*+(?=\S)")
_STRUCTURE: Final = re.compile(
    rf"(?P<open>[(\[{{])|(?P<close>[)\]}}])|(?P<quote>(?:(?<![\w\\])|(?<=(?<!\w)[bBuUrRfF])|(?<=\\[nrt])){_QUOTE})"
)


def value_span(text: str, at: int, place: Place) -> Span | None:
    """Return the start and end of the value that begins at `at`, right behind a separator; None if there is none."""
    if place.indent is not None and (block := _BLOCK.match(text, at)):
        return _spaces_end(text, at), _block_end(text, block.end(), place.indent)
    if line_break := _LINE_BREAK.match(text, at):
        return _span_below(text, line_break.end(), place)
    return _span_here(text, _spaces_end(text, at), place)


def _span_here(text: str, start: int, place: Place) -> Span | None:
    boundary = _boundary(place.extent, place.separator)
    end = _run_end(text, start, boundary)
    while place.extent is Extent.WORD and end > start and (default := _DEFAULT.match(text, end)):
        end = _run_end(text, default.end(), boundary)
    return (start, end) if end > start else None


def _span_below(text: str, line: int, place: Place) -> Span | None:
    """Return the span of a value that begins in the line behind its name: a block of YAML, or one word."""
    start = _position_after(_ANY_SPACE, text, line)
    if place.indent is not None and (end := _block_end(text, line, place.indent)) > start:
        return start, end
    if _NO_VALUE.match(text, start) and not _OPENING.match(text, start):
        return None
    return _span_here(text, start, Place(separator=place.separator))


def _block_end(text: str, line: int, indent: int) -> int:
    """Return the end of the lines that are indented deeper than a name is, or are items of its list."""
    end = position = line
    while position < len(text) and (found := _LINE.match(text, position)):
        depth, content = len(found["indent"]), found["content"].strip()
        if content and depth <= indent and not (depth == indent and content.startswith("- ")):
            break
        position = found.end()
        end = found.end("content") if content else end
    return end


def _run_end(text: str, start: int, boundary: re.Pattern[str]) -> int:
    if text.startswith(MASK, start):
        behind = boundary.match(text, start + len(MASK))
        if behind and behind.lastgroup == "end":
            return start + len(MASK)
    end = _pieces_end(text, start, boundary, 1)
    if text.find("\\", start, end) < 0:
        return end
    # JSON in JSON in a repr: how many backslashes stand for one is unknown, so the longest reading counts.
    return max(end, *(_pieces_end(text, start, boundary, scale) for scale in (2, 4)))


def _pieces_end(text: str, start: int, boundary: re.Pattern[str], scale: int) -> int:
    position = start
    if opening := _OPENING.match(text, start):
        if _NOTHING.match(text, opening.start("quote")):
            return start
        position = _quoted_end(text, opening, scale)
    elif scheme := _SCHEME.match(text, start):
        position = scheme.end()
    while found := boundary.search(text, position):
        if found.lastgroup == "end":
            return found.start()
        position = _quoted_end(text, found, scale) if found["quote"] else _bracket_end(text, found.end(), scale)
    return len(text)


def _bracket_end(text: str, position: int, scale: int) -> int:
    """Return the position after the bracket that closes the one before `position`."""
    depth = 1
    while depth and (found := _STRUCTURE.search(text, position)):
        position = found.end()
        if found["quote"]:
            position = _quoted_end(text, found, scale)
        else:
            depth += 1 if found["open"] else -1
    return len(text) if depth else position


def _quoted_end(text: str, opening: re.Match[str], scale: int) -> int:
    """Return the position after the quote that closes an opening one."""
    escapes, mark = len(opening["quote"]) - 1, opening["quote"][-1]
    if not escapes and text.startswith(mark * 2, opening.end()):
        mark *= 3
    closing = _closing(mark, escapes, scale).search(text, opening.end())
    return len(text) if closing is None else closing.end()


@lru_cache(maxsize=1000)
def _closing(mark: str, escapes: int, scale: int) -> re.Pattern[str]:
    r"""Return a pattern of what closes a quote that has so many backslashes before it.

    In `\"x\"` both have one. If one backslash of the string is written as `unit` of them, an escaped quote has an odd
    number of units more, and a quote behind an escaped backslash an even one.
    """
    unit = scale << escapes.bit_length()
    return re.compile(rf"(?<!\\)(?:\\{{0,{escapes}}}|\\{{{escapes}}}(?:\\{{{2 * unit}}})*+){mark}(?!\w)")


@lru_cache(maxsize=100)
def _boundary(extent: Extent, separator: str) -> re.Pattern[str]:
    """Return a pattern of what ends a value, or begins a quoted or bracketed part of it."""
    ends = {Extent.WORD: _word_ends, Extent.HEADER: _header_ends, Extent.LINE: _line_ends}[extent](separator)
    return re.compile(rf"(?!\w)(?:{_PIECES} | (?P<end>{'|'.join(ends)}))", re.VERBOSE)


def _word_ends(separator: str) -> list[str]:
    return [
        r"\Z", r"\s", r"[,;&|:](?=\s|\Z)", _next_name(separator), _QUOTE_ENDS, rf"[)\]}}>]{_CLOSED}", r"<(?=[/!\s]|\Z)",
        rf"{_ESCAPED_NEWLINE}(?={_NAME}[=:])",
    ]  # fmt: skip


def _header_ends(_: str) -> list[str]:
    return [r"\Z", r"[\r\n]", _QUOTE_ENDS, rf"[)\]}}]{_CLOSED}", rf"{_ESCAPED_NEWLINE}(?={_NAME}:)"]


def _line_ends(separator: str) -> list[str]:
    ends = [
        r"(?<![ \t,;])[ \t,;]*+(?=[\r\n]|\Z)", r"[\r\n]", r"\Z", _next_name(separator), rf"{_ESCAPED_NEWLINE}(?={_NAME}[=:])",
    ]  # fmt: skip
    return [*ends, rf"(?<![ \t])[ \t]++(?={_NAME}=)"] if separator == "=" else ends


def _next_name(separator: str) -> str:
    if separator == ":":
        return rf"[,;](?={_NAME}[=:])"
    if separator == "=":
        return rf"[,;&|](?={_NAME}=)"
    again = f"(?:25){{0,{separator[1:]}}}"
    return rf"(?:[,;&|]|%{again}(?:26|2C|3B))(?={_NAME}(?:=|%{again}3D))"


def _spaces_end(text: str, at: int) -> int:
    return _position_after(_SPACES, text, at)


def _position_after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
