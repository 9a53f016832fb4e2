"""A traceback prepared for reading: the project's own innermost frame first, library frames folded away."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from tasks_app.fingerprint import is_foreign
from zenith_site.common.previews import SHOWN

#: Frames that are parsed; of a deeper recursion the outermost frames are only in the text.
MOST_FRAMES: Final = 100
_FRAME: Final = re.compile(r'^  File "(?P<file>[^"\n]+)", line (?P<line>\d+), in (?P<function>.+)$')
_CHAIN: Final = re.compile(r"\n\n(?=During handling of the above exception, another|The above exception was the direct cause of)")


@dataclass(frozen=True, slots=True)
class Frame:
    """A call: its place, and the line that it had reached."""

    file: str
    line: str
    function: str
    code: str

    @property
    def foreign(self) -> bool:
        """Return whether the frame is a library's, not the project's own."""
        return is_foreign(self.file)


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Consecutive frames that are all the project's own, or all foreign; innermost first."""

    foreign: bool
    frames: list[Frame]


@dataclass(frozen=True, slots=True)
class TracebackView:
    """An exception, the project's own frame that it came from, the frames below it, and its callers.

    Attributes:
        error: `Type: message`, as at the traceback's end.
        culprit: the project's innermost own frame; None if all frames are foreign.
        inside: foreign frames below the culprit, where the exception was raised; innermost first.
        callers: the frames above the culprit, or all frames if there is none; innermost first.
        text: the traceback as Python prints it.
        cut: whether `text` is only the end of a longer traceback.
    """

    error: str
    culprit: Frame | None
    inside: list[Frame]
    callers: list[FrameGroup]
    chained: bool
    text: str
    cut: bool = False


def parse_traceback(text: str, limit: int = SHOWN) -> TracebackView | None:
    """Parse the last `limit` characters of a traceback without secrets; return None if it is blank."""
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
    """Yield the frames, outermost first; lines of code below a frame are indented by four spaces."""
    head: re.Match[str] | None = None
    code = ""
    for line in lines:
        next_head = _FRAME.match(line)
        if next_head is None and head is not None and line.startswith("    "):
            code = code or line.strip()
            continue
        if head is not None:
            yield Frame(head["file"], head["line"], head["function"], code)
        head, code = next_head, ""
    if head is not None:
        yield Frame(head["file"], head["line"], head["function"], code)


def _error(section: str) -> str:
    """Return the text below the innermost frame and its code."""
    lines = section.rstrip().splitlines()
    below = max((index for index, line in enumerate(lines) if _FRAME.match(line)), default=-1) + 1
    while below < len(lines) and lines[below].startswith(" "):
        below += 1
    return "\n".join(lines[below:])
