"""Which failures are the same one: a fingerprint of what went wrong, blind to what varies.

Two failures belong together when the same task raised the same exception, with the same message
but for its numbers, names and places, from the same innermost function of the project's own code.
Line numbers are left out: editing a file above the culprit must not split a group.
"""

import hashlib
import json
import re
from typing import Final

#: Characters of a message that are looked at, and that are kept.
LOOKED_AT: Final = 2000
KEPT: Final = 500
FRAME_KEPT: Final = 255

# Each alternative needs a character (a digit, quote, slash, @ or backslash) that no placeholder has.
# So every pass that changes a text leaves fewer of them, and `normalise` comes to an end.
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

#: A frame as Python prints it; in an exception group with a margin.
_FRAME: Final = re.compile(r'^[\s|+-]*File "([^"\n]+)", line \d+, in (.+?)\s*$', re.MULTILINE)
_FOREIGN: Final = re.compile(r"[\\/](?:site-packages|dist-packages)[\\/]|[\\/]lib[\\/](?:python\d|pypy)|^<", re.IGNORECASE)


def normalise(message: str) -> str:
    """Return a message with a placeholder for whatever may differ from one failure to the next.

    Never longer than `KEPT` characters; what is normalised already comes back as it is.
    """
    text = message[:LOOKED_AT]
    while True:
        replaced = " ".join(_VARIABLE.sub(lambda found: f"<{found.lastgroup}>", text).split())
        replaced = replaced[:KEPT].rstrip()
        if replaced == text:
            return text
        text = replaced


def is_foreign(file: str) -> bool:
    """Whether a frame's file is a library's (Python's own, or installed) and not the project's."""
    return _FOREIGN.search(file) is not None


def own_frame(traceback: str) -> str:
    """Return the innermost frame of the project's own code, as `directory/file.py function`.

    Where every frame is a library's, the innermost of them; where there is none, nothing.
    """
    frames = _FRAME.findall(traceback)
    own = [frame for frame in frames if not is_foreign(frame[0])]
    if not frames:
        return ""
    file, function = (own or frames)[-1]
    tail = "/".join(re.split(r"[\\/]", file)[-2:])
    return f"{tail} {function}"[:FRAME_KEPT]


def fingerprint(task_name: str, error_type: str, message: str, frame: str) -> str:
    """Return 32 hexadecimal digits that are equal for failures that belong together.

    `message` and `frame` come from `normalise` and `own_frame`.
    """
    culprit = json.dumps([task_name, error_type, message, frame])
    return hashlib.sha256(culprit.encode()).digest()[:16].hex()
