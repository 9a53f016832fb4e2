"""The soft time limit for a hard one."""

from __future__ import annotations

from typing import Final

#: The soft time limit as a share of the hard one.
SOFT_SHARE: Final = 0.95


def soft_limit(hard: float | None, soft: float | None, default: float) -> float | None:
    """Return the soft time limit for a hard one; all in seconds, `default` is the application's soft limit.

    The pool starts the hard limit's clock when the soft limit is over, so a soft limit (perhaps the default one) beyond a short
    hard one would delay that. If only a hard limit is set, the soft one is shortly before it.
    """
    effective = soft or default
    return hard * SOFT_SHARE if hard and effective >= hard else soft
