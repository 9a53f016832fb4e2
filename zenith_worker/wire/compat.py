"""What Python has only since 3.10 or 3.11: workers of other applications may run on Python 3.9.

On Python 3.9, data classes have no slots and accept positional arguments.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or sys.version_info >= (3, 10):
    from dataclasses import dataclass
else:

    def dataclass(*, slots: bool = False, kw_only: bool = False, **options: Any) -> Callable[[type], type]:
        """Return the decorator of Python's data classes, without the options that this Python does not know."""
        return dataclasses.dataclass(**options)


__all__ = ["StrEnum", "dataclass"]


class StrEnum(str, Enum):
    """An enum whose members are their values also as text, like Python's own of this name.

    It is the same class on every Python, so that no difference between two can be overlooked.
    """

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment] # typeshed names its parameter differently
