"""The registry of retention rules, in addition to those of tasks_app/maintenance/retention.py itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Rule:
    """One kind of rows, and how long they are kept.

    Attributes:
        name: the rows' name for people and in JSON.
        sentence: which rows are removed.
        prune: removes them, and yields the number of rows after each transaction.
        count: returns how many rows are to be removed now; None if that is unknown.
    """

    name: str
    sentence: str
    prune: Callable[[], Iterator[int]]
    count: Callable[[], int] | None = None


_REGISTERED: Final[dict[str, Rule]] = {}


def register(name: str, sentence: str, prune: Callable[[], int], count: Callable[[], int] | None = None) -> None:
    """Register rows for pruning; `prune` returns how many it removed, `count` how many there are to remove."""
    _REGISTERED[name] = Rule(name, sentence, lambda: iter([prune()]), count)


def registered() -> list[Rule]:
    """Return the registered rules, in the order of their registration."""
    return list(_REGISTERED.values())
