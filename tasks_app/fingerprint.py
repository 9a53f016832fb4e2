"""Fingerprints of failures, which are equal if the failures have the same cause.

Two failures belong together if the same task raised the same exception from the same innermost function of the project's own
code, with messages that differ only in numbers, names and places. Line numbers are left out: editing a file above the
failing line must not split a group.
"""

import hashlib
import json
import re
from typing import Final

#: The most characters of a message that are read, and that are kept; and of a frame that are kept.
LOOKED_AT: Final = 2000
KEPT: Final = 500
FRAME_KEPT: Final = 255

# Each alternative needs a character (a digit, quote, slash, @ or backslash) that no placeholder has. So every pass that
# changes a text leaves fewer of them, and `normalise` terminates.
_VARIABLE: Final = re.compile(
    r"""
    (?P<url>\b[a-z][a-z0-9+.-]{1,20}://[^\s'"<>]+)
  | (?P<email>[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{1,190})
  | (?P<str>(?<!\w)(?:'[^'\n]{1,400}'|"[^"\n]{1,400}"|`[^`\n]{1,400}`)(?!\w))
  | (?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)
  | (?P<address>\b0x[0-9a-f]+\b)
  | (?P<path>(?<![\w/])(?:[a-z]:\\|~?/)[\w.@+-]+(?:[\\/][\w.@+-]+)*[\\/]?)
  | (?P<hex>\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b)
  | (?P<n>\d+(?:[.,:_]\d+)*)
    """,
    re.VERBOSE | re.IGNORECASE,
)

#: A frame as Python prints it; in an exception group it has a margin.
_FRAME: Final = re.compile(r'^[\s|+-]*File "([^"\n]+)", line \d+, in (.+?)\s*$', re.MULTILINE)
_FOREIGN: Final = re.compile(r"[\\/](?:site-packages|dist-packages)[\\/]|[\\/]lib[\\/](?:python\d|pypy)|^<", re.IGNORECASE)


def normalise(message: str) -> str:
    """Return a message with placeholders for the parts that vary from one failure to the next.

    At most `KEPT` characters; a normalised message is returned unchanged.
    """
    text = message[:LOOKED_AT]
    while True:
        replaced = " ".join(_VARIABLE.sub(lambda match: f"<{match.lastgroup}>", text).split())
        replaced = replaced[:KEPT].rstrip()
        if replaced == text:
            return text
        text = replaced


def is_foreign(file: str) -> bool:
    """Return whether a frame's file belongs to a library (installed, or Python's own) and not to the project."""
    return _FOREIGN.search(file) is not None


def own_frame(traceback: str) -> str:
    """Return the innermost frame of the project's own code, as `directory/file.py function`.

    If all frames are a library's, the innermost of those; an empty text if there are no frames.
    """
    frames = _FRAME.findall(traceback)
    own = [frame for frame in frames if not is_foreign(frame[0])]
    if not frames:
        return ""
    file, function = (own or frames)[-1]
    tail = "/".join(re.split(r"[\\/]", file)[-2:])
    return f"{tail} {function}"[:FRAME_KEPT]


def fingerprint(task_name: str, error_type: str, message: str, frame: str, application: str = "") -> str:
    """Return 32 hexadecimal digits that are equal for failures with the same cause.

    `message` and `frame` come from `normalise` and `own_frame`. `application` is a key of the task's application, and empty for
    Zenith's own: two applications may have a task of the same name, each with a fault of its own.
    """
    culprit = json.dumps([task_name, error_type, message, frame, *([application] if application else [])])
    return hashlib.sha256(culprit.encode()).digest()[:16].hex()
