"""A text of a given size, the same in every run."""

from __future__ import annotations

import random

_SYLLABLES = ("ka", "lo", "mi", "ren", "ta", "su", "vel", "dor", "ni", "qua", "pe", "sh", "ix", "am", "bro")
_VOCABULARY = 1500


def text_of(size: int) -> str:
    """Prose-like text of so many characters: words repeat as in a language, a few to a sentence."""
    chance = random.Random(size)
    words = ["".join(chance.choices(_SYLLABLES, k=chance.randint(1, 4))) for _ in range(_VOCABULARY)]
    weights = [1 / rank for rank in range(1, _VOCABULARY + 1)]
    parts: list[str] = []
    length = 0
    while length < size:
        sentence = " ".join(chance.choices(words, weights, k=chance.randint(6, 22))).capitalize() + ". "
        parts.append(sentence)
        length += len(sentence)
    return "".join(parts)[:size]
