"""The pages that the navigation leads to: each app registers its own in `navigation.py`."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from itertools import groupby
from typing import Final

from django.utils.module_loading import autodiscover_modules


class Section(IntEnum):
    """The lists that the navigation shows, from top to bottom."""

    WORK = 1
    MACHINES = 2
    SITE = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A page.

    Attributes:
        url_name: of a URL without arguments; an entry whose page does not exist is not drawn.
        key: the letter that goes there after `g`; no two entries have the same.
        place: among those of its section, from top to bottom.
        staff: whether only staff may see it.
    """

    url_name: str
    label: str
    icon: str
    key: str
    section: Section
    place: int
    staff: bool = False


_ENTRIES: Final[list[Entry]] = []


def register(*entries: Entry) -> None:
    """Have the navigation lead to these pages."""
    _ENTRIES.extend(entries)


@cache
def sections() -> list[list[Entry]]:
    """Return the entries of each section in their order. The first call imports every app's `navigation.py`: each page asks."""
    autodiscover_modules("navigation")
    ordered = sorted(_ENTRIES, key=lambda entry: (entry.section, entry.place))
    return [list(entries) for _, entries in groupby(ordered, key=lambda entry: entry.section)]
