"""Secrets that pages enter and only engines read. An app has the engines' public key, and registers here what seals with it.

docs/decisions/0023-entering-urls.md says why web cannot read what it stores.
"""

from collections.abc import Callable
from typing import Final

#: Encrypts a text for a purpose, so that only engines can read it.
Seal = Callable[[str, str], str]

_SEALS: Final[list[Seal]] = []


def register_seal(seal: Seal) -> None:
    """Have texts sealed by this function."""
    _SEALS[:] = [seal]


def seal_for_engines(text: str, purpose: str) -> str:
    """Return a text that only engines can read. Raises StateConflictError if no engine has told its public key yet."""
    (seal,) = _SEALS
    return seal(text, purpose)
