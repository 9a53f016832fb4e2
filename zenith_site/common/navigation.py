"""The entries of the navigation: each app registers its pages in `navigation.py`."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from itertools import groupby
from typing import Final

from django.utils.module_loading import autodiscover_modules

from zenith_site.common.callers import Applications, Shows, are_shown


class Section(IntEnum):
    """The sections of the navigation, from top to bottom."""

    WORK = 1
    MACHINES = 2
    SITE = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A link to a page.

    Attributes:
        url_name: the name of a URL without arguments; an entry without such a page is not shown.
        key: the unique letter that opens the page after `g`.
        place: the position in its section, from top to bottom.
        staff: whether only staff see it.
        shows: as the page's view says; an entry whose page would refuse the caller is not shown.
        tab_of: the `url_name` of the entry that stands for this page too. Its pages have tabs (`page_tabs`), and the navigation
            has only its key.
    """

    url_name: str
    label: str
    icon: str
    key: str
    section: Section
    place: int
    staff: bool = False
    shows: Shows = Shows.FILTERED
    tab_of: str = ""


_ENTRIES: Final[list[Entry]] = []


def register(*entries: Entry) -> None:
    """Add these pages to the navigation."""
    _ENTRIES.extend(entries)


def sections_for(applications: Applications) -> list[list[Entry]]:
    """Return the entries of each section for callers who may see these applications; None for all."""
    return [[entry for entry in entries if are_shown(entry.shows, applications)] for entries in sections()]


def tabs_of(url_name: str) -> list[Entry]:
    """Return the entries whose pages are tabs of each other, if the page with this URL is one of several; else only its own."""
    entries = [entry for section in sections() for entry in section]
    first = next((entry.tab_of or entry.url_name for entry in entries if entry.url_name == url_name), url_name)
    return [entry for entry in entries if first in (entry.url_name, entry.tab_of)]


@cache
def sections() -> list[list[Entry]]:
    """Return the entries of each section in order, cached. The first call imports every app's `navigation.py`."""
    autodiscover_modules("navigation")
    ordered = sorted(_ENTRIES, key=lambda entry: (entry.section, entry.place))
    return [list(entries) for _, entries in groupby(ordered, key=lambda entry: entry.section)]
