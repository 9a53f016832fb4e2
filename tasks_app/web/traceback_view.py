"""A traceback to read: the project's own innermost frame first, what libraries did folded away."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from tasks_app.fingerprint import is_foreign
from zenith_site.common.previews import SHOWN

#: Frames that are taken apart; of a recursion that went deeper, the outermost are left to the text itself.
MOST_FRAMES: Final = 100
_FRAME: Final = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>.+)$')
_CHAIN: Final = re.compile(r"\n\n(?=During handling of the above exception, another|The above exception was the direct cause of)")


@dataclass(frozen=True, slots=True)
class Frame:
    """A call: where, and the line that it had come to."""

    file: str
    line: str
    function: str
    code: str

    @property
    def foreign(self) -> bool:
        """Whether it is a library's, and not the project's own."""
        return is_foreign(self.file)


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Frames in a row that are all the project's own, or all foreign; the innermost first."""

    foreign: bool
    frames: list[Frame]


@dataclass(frozen=True, slots=True)
class TracebackView:
    """The exception, the own frame that it came from, what that had called, and who had called it.

    Attributes:
        error: `Type: message`, as it stands at the traceback's end.
        culprit: the innermost own frame; None where all are foreign.
        inside: foreign frames below the culprit, where it was raised; the innermost first.
        callers: the frames above the culprit, or all where there is none; the innermost first.
        text: the whole as Python prints it.
        cut: whether it is longer: its end is what is shown.
    """

    error: str
    culprit: Frame | None
    inside: list[Frame]
    callers: list[FrameGroup]
    chained: bool
    text: str
    cut: bool = False


def read(text: str, limit: int = SHOWN) -> TracebackView | None:
    """Take apart the last so many characters of a traceback without secrets; None where there is none."""
    if not text.strip():
        return None
    if cut := len(text) > limit:
        text = text[-limit:]
        text = text[text.find("\n") + 1 :]
    *before, last = _CHAIN.split(text)
    frames = list(_frames(last.splitlines()))[-MOST_FRAMES:][::-1]
    own = next((index for index, frame in enumerate(frames) if not frame.foreign), None)
    culprit = None if own is None else frames[own]
    inside = frames[:own] if own else []
    callers = frames if own is None else frames[own + 1 :]
    runs = [FrameGroup(foreign, list(run)) for foreign, run in groupby(callers, key=lambda frame: frame.foreign)]
    return TracebackView(_error(last), culprit, inside, runs, bool(before), text, cut)


def _frames(lines: Iterable[str]) -> Iterator[Frame]:
    """Yield the frames, the outermost first; the lines of code below a frame are four spaces deep."""
    found: re.Match[str] | None = None
    code = ""
    for line in lines:
        start = _FRAME.match(line)
        if start is None and found is not None and line.startswith("    "):
            code = code or line.strip()
            continue
        if found is not None:
            yield Frame(found["file"], found["line"], found["function"], code)
        found, code = start, ""
    if found is not None:
        yield Frame(found["file"], found["line"], found["function"], code)


def _error(section: str) -> str:
    """Return what stands below the innermost frame and its code."""
    lines = section.rstrip().splitlines()
    below = max((index for index, line in enumerate(lines) if _FRAME.match(line)), default=-1) + 1
    while below < len(lines) and lines[below].startswith(" "):
        below += 1
    return "\n".join(lines[below:])
