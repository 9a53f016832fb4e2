"""How soft and hard time limits go together."""

from typing import Final

#: The share of a hard time limit after which a task is warned.
SOFT_SHARE: Final = 0.95


def soft_limit(hard: float | None, soft: float | None, default: float) -> float | None:
    """Return the soft time limit that goes with a hard one; all in seconds, `default` being the application's soft limit.

    The pool starts the hard limit's clock when the soft one is over, so a soft limit (the default one,
    perhaps) beyond a short hard one would put that off. If only a hard one is set, the task is
    warned shortly before it.
    """
    effective = soft or default
    return hard * SOFT_SHARE if hard and effective >= hard else soft
