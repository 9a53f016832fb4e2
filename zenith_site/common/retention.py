"""The registry of what is kept for some time only, beside what tasks_app/maintenance/retention.py removes itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Rule:
    """One kind of rows, and how long they are kept.

    Attributes:
        name: what they are called by people and in JSON.
        sentence: which of them are removed.
        prune: removes them, and yields how many rows after each transaction.
        count: returns how many there are to remove now; None where nobody can say.
    """

    name: str
    sentence: str
    prune: Callable[[], Iterator[int]]
    count: Callable[[], int] | None = None


_REGISTERED: Final[dict[str, Rule]] = {}


def register(name: str, sentence: str, prune: Callable[[], int], count: Callable[[], int] | None = None) -> None:
    """Have rows pruned with the rest; `prune` returns how many it removed, `count` how many there are to remove."""
    _REGISTERED[name] = Rule(name, sentence, lambda: iter([prune()]), count)


def registered() -> list[Rule]:
    """Return the rules of others, in the order in which they were registered."""
    return list(_REGISTERED.values())
