"""SQL in files, as in procrastinate: a package's `queries.sql` holds its longer statements, each with a name.

A statement begins with `-- name --`; the comments below it say what it is for and are not sent.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"^-- (\w+) --$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^--.*\n", re.MULTILINE)


def statements(module: str) -> Mapping[str, str]:
    """Return the statements of the `queries.sql` beside a module by name; `module` is its `__file__`."""
    return _read(Path(module).with_name("queries.sql"))


@cache
def _read(path: Path) -> Mapping[str, str]:
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    return {name: _COMMENT.sub("", body).strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
