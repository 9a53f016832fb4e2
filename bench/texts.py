"""A text of a given size, the same in every run."""

from __future__ import annotations

import random

_SYLLABLES = ("ka", "lo", "mi", "ren", "ta", "su", "vel", "dor", "ni", "qua", "pe", "sh", "ix", "am", "bro")
_VOCABULARY = 1500


def text_of(size: int) -> str:
    """Return prose-like text of `size` characters, with word frequencies and sentence lengths as in a language."""
    rng = random.Random(size)
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(_VOCABULARY)]
    weights = [1 / rank for rank in range(1, _VOCABULARY + 1)]
    parts: list[str] = []
    length = 0
    while length < size:
        sentence = " ".join(rng.choices(words, weights, k=rng.randint(6, 22))).capitalize() + ". "
        parts.append(sentence)
        length += len(sentence)
    return "".join(parts)[:size]
