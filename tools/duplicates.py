"""List the pairs of places that share six lines or more: `python tools/duplicates.py [FOLDER …] [--most N]`.

Lines are compared as they are, and by their shape: with names, strings and numbers replaced. Blank lines, comments, imports,
lines of mere punctuation and migrations, which are frozen, do not count. Lines that occur in more than eight places are an idiom
and are left out; so is a shared shape whose lines mostly have two words or fewer, such as a class of constants. A row is a place
to look at, not a verdict.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent

SOURCES: Final = {".py", ".js", ".html", ".css", ".lua", ".sql", ".sh"}
#: Directories of what is not written by hand, or not any more.
LEFT_OUT: Final = {"vendor", "migrations"}
#: Lines that two places must share, one after the other.
LEAST: Final = 6
#: Places that one run of lines may have.
COMMON: Final = 8
#: Different lines that a run must have: a list of forty names is not a repetition.
DIFFERENT: Final = 3
#: Words that at least half of the lines of a run must have if only its shape is shared.
WORDS: Final = 3
_PASSED_OVER: Final = re.compile(r"(#|//|/\*|\*|--|\{#|<!--|import\b|from\b.*\bimport\b|\{% (load|extends)\b)|[^\w]*$")
_KEYWORDS: Final = (
    "and|as|assert|async|await|break|case|catch|class|const|continue|def|del|elif|else|end|endif|endfor|except|export|finally|for|"
    "from|function|if|in|include|is|lambda|let|local|match|new|not|or|pass|raise|return|select|then|throw|try|where|while|with|yield"
)
_TOKEN: Final = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)|(?P<tag></?[a-z][\w-]*)|(?P<number>\b\d[\w.]*)|(?P<name>[^\W\d][\w-]*)"""
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that counts: where it stands, what it says, and its shape."""

    number: int
    text: str
    shape: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two places that share a run of lines; each place is a file with its first and its last line."""

    lines: int
    identical: bool
    one: tuple[str, int, int]
    other: tuple[str, int, int]

    def __str__(self) -> str:
        """Write the pair as a row."""
        places = " ~ ".join(f"{name}:{first}-{last}" for name, first, last in (self.one, self.other))
        return f"{self.lines:4}  {places}" + ("" if self.identical else "  (shape)")


def lines_of(source: str) -> list[Line]:
    """Return the lines of a file that count."""
    folded = ((number, " ".join(line.split())) for number, line in enumerate(source.splitlines(), 1))
    return [Line(number, text, shape(text)) for number, text in folded if not _PASSED_OVER.match(text)]


def shape(text: str) -> str:
    """Return a line with its names, strings and numbers replaced."""
    return _TOKEN.sub(_placeholder, text)


def pairs(files: dict[str, list[Line]], least: int = LEAST) -> list[Pair]:
    """Return the pairs of places, the longest first: one for each two files (or a file and itself), with their longest run."""
    places: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for name, lines in files.items():
        for start in range(len(lines) - least + 1):
            window = tuple(line.shape for line in lines[start : start + least])
            if len(set(window)) >= min(DIFFERENT, least):
                places[window].append((name, start))
    # Windows that follow each other in both files, at the same distance, are one run.
    diagonals: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for occurrences in places.values():
        for (one, start), (other, again) in combinations(occurrences, 2) if len(occurrences) <= COMMON else ():
            if one != other or again - start >= least:
                diagonals[one, other, again - start].append(start)
    longest: dict[tuple[str, str], Pair] = {}
    for (one, other, distance), starts in diagonals.items():
        for first, last in _runs(sorted(starts)):
            end = last + least if one != other else min(last + least, first + distance)
            pair = _pair(files, one, other, first, end, distance)
            if not (pair.identical or _says_enough(files[one][first:end])):
                continue
            longest[one, other] = max(pair, longest.get((one, other), pair), key=_weight)
    return sorted(longest.values(), key=lambda pair: (-pair.lines, pair.one, pair.other))


def tracked(folders: Iterable[str]) -> Iterator[Path]:
    """Yield the source files that git tracks, without those that are vendored or frozen."""
    listing = subprocess.run(["git", "ls-files", "-z", "--", *folders], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listing.stdout.split("\0"):
        if Path(name).suffix in SOURCES and not LEFT_OUT & set(Path(name).parts) and (ROOT / name).is_file():
            yield Path(name)


def main(arguments: list[str] | None = None) -> int:
    """Print how many pairs there are, and the longest of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="look only below these folders (default: everywhere)")
    parser.add_argument("--most", type=int, default=20, metavar="N", help="rows to print (default: 20)")
    parser.add_argument("--least", type=int, default=LEAST, metavar="N", help=f"lines that make a pair (default: {LEAST})")
    options = parser.parse_args(arguments)
    files = {str(path): lines_of((ROOT / path).read_text(errors="replace")) for path in tracked(options.folders)}
    listed = pairs(files, options.least)
    alike = sum(not pair.identical for pair in listed)
    print(
        f"{len(listed)} pairs of places in {len(files)} files share {options.least} lines or more, {alike} of them by shape alone"
    )
    for pair in listed[: options.most]:
        print(pair)
    return 0


def _placeholder(token: re.Match[str]) -> str:
    if token["text"] or token["number"]:
        return "0" if token["number"] else '""'
    return token[0] if token["tag"] or re.fullmatch(_KEYWORDS, token[0]) else "x"


def _runs(starts: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each row of numbers that follow each other."""
    first = 0
    for place, start in enumerate(starts):
        if place + 1 == len(starts) or starts[place + 1] != start + 1:
            yield starts[first], start
            first = place + 1


def _pair(files: dict[str, list[Line]], one: str, other: str, start: int, end: int, distance: int) -> Pair:
    lines, likes = files[one][start:end], files[other][start + distance : end + distance]
    return Pair(
        lines=len(lines),
        identical=all(line.text == like.text for line, like in zip(lines, likes, strict=True)),
        one=(one, lines[0].number, lines[-1].number),
        other=(other, likes[0].number, likes[-1].number),
    )


def _says_enough(lines: list[Line]) -> bool:
    return sum(len(_TOKEN.findall(line.text)) >= WORDS for line in lines) * 2 >= len(lines)


def _weight(pair: Pair) -> tuple[bool, int]:
    return pair.identical, pair.lines


if __name__ == "__main__":
    raise SystemExit(main())
