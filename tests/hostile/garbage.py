"""What a broken or hostile program may write: drawn by a seed, so that a failure can be drawn again."""

from __future__ import annotations

import json
import random
from typing import Any

TEXTS = (
    "", "\0", "\ud800", "é", "🙂" * 50, "a\nb", "../..", "%s%n", "' OR 1=1 --", "<script>", "x" * 5000, "\u202e", "id", "task",
)  # fmt: skip
NUMBERS = (0, -1, 1e308, float("nan"), float("inf"), 2**63, 10**400, -0.0, 0.1)
#: Levels that end a recursive reader, and that end a reader in C.
DEPTHS = (600, 20_000)


class Garbage:
    """A source of garbage."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def value(self, levels: int = 4) -> Any:
        """Return anything that JSON has, and more than it promises."""
        match self.rng.randrange(8 if levels else 5):
            case 0 | 1:
                return self.rng.choice(TEXTS)
            case 2 | 3:
                return self.rng.choice(NUMBERS)
            case 4:
                return self.rng.choice((None, True, False))
            case 5 | 6:
                return {self.rng.choice(TEXTS): self.value(levels - 1) for _ in range(self.rng.randrange(5))}
            case _:
                return [self.value(levels - 1) for _ in range(self.rng.randrange(5))]

    def raw(self, good: Any) -> bytes:
        """Return bytes: noise, JSON of anything, far too deep, or what is good but for a member or its end."""
        match self.rng.randrange(6):
            case 0:
                return self.rng.randbytes(self.rng.randrange(200))
            case 1:
                return _json(self.value())
            case 2:
                return b"[" * self.rng.choice(DEPTHS)
            case 3:
                text = _json(good)
                return text[: self.rng.randrange(len(text))]
            case _:
                return _json(self.spoilt(good))

    def spoilt(self, good: Any) -> Any:
        """Return a good value with something of it replaced."""
        if isinstance(good, dict) and good and self.rng.random() < 0.9:
            name = self.rng.choice(sorted(good))
            return {**good, name: self.spoilt(good[name])}
        if isinstance(good, list) and good and self.rng.random() < 0.9:
            place = self.rng.randrange(len(good))
            return [*good[:place], self.spoilt(good[place]), *good[place + 1 :]]
        return self.value()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
