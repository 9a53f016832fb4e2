"""The tasks that come with Zenith: one that does real work, and drills for trying out failures."""

import os
import re
import signal
import time
from collections import Counter
from typing import Any, Final

from celery import Task, shared_task

_WORD: Final = re.compile(r"[^\W_]+(?:['’\-‐‑][^\W_]+)*")  # noqa: RUF001 -- real apostrophes
_SENTENCE_END: Final = re.compile(r"[.!?]+(?=\s|$)")
PREVIEW_LENGTH: Final = 120


class EmptyTextError(ValueError):
    """There is no text to analyse."""


class DrillError(RuntimeError):
    """Raised on purpose."""


@shared_task(name="analyze_text", no_retry_for=(EmptyTextError,))
def analyze_text(data: str) -> dict[str, Any]:
    """Count the words and sentences of a text.

    A word is a run of letters or digits with inner apostrophes or hyphens, compared case-folded;
    a sentence ends at a run of `.`, `!` or `?` before white space or the end, and has a word in it.
    Raises EmptyTextError if the text is empty or only white space.
    """
    if not data.strip():
        raise EmptyTextError("the text is empty")
    words = [word.casefold() for word in _WORD.findall(data)]
    counts = Counter(words)
    sentences = sum(1 for part in _SENTENCE_END.split(data) if _WORD.search(part))
    return {
        "word_count": len(words),
        "char_length": len(data),
        "unique_words": len(counts),
        "lexical_diversity": round(len(counts) / len(words), 3) if words else 0.0,
        "top_5_words": [list(pair) for pair in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:5]],
        "sentence_count": sentences,
        "avg_sentence_length": round(len(words) / sentences, 2) if sentences else 0.0,
        "preview": data[:PREVIEW_LENGTH],
    }


@shared_task(name="drill_sleep", drill=True)
def drill_sleep(seconds: float = 1.0) -> float:
    """Sleep for a number of seconds, and return that number."""
    time.sleep(seconds)
    return seconds


@shared_task(name="drill_fail", bind=True, drill=True)
def drill_fail(self: Task, times: int = 1, message: str = "a drill") -> str:
    """Fail a number of times, then succeed; if the number is negative, always fail."""
    if times < 0 or self.request.retries < times:
        raise DrillError(message)
    return f"succeeded at attempt {self.request.retries + 1}"


@shared_task(name="drill_crash", drill=True)
def drill_crash() -> None:
    """Kill the process that runs this task, as a segmentation fault would."""
    os.kill(os.getpid(), signal.SIGKILL)
