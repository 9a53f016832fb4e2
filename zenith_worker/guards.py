"""Guards: what an attached application asks Zenith to do beyond reporting, each chosen by name (ZENITH_GUARD, `attach(guard=…)`).

- `claims`: one delivery of a task runs, and only its outcome counts (wire/claims.py). While Zenith's Redis is away tasks run
  unclaimed; with `claims:closed` they wait for it.
- `recovery`: what dead workers held goes back to its queue (recovery.py).
- `retries`: a task that fails is retried with exponential back-off (autoretry.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zenith_worker.wire.compat import dataclass
from zenith_worker.wire.guard_names import CLAIMS, CLAIMS_CLOSED, NAMES, RECOVERY, RETRIES


@dataclass(frozen=True, slots=True)
class Guards:
    """The guards of an application.

    Attributes:
        closed: whether tasks wait while Zenith's Redis is away, instead of running unclaimed.
    """

    claims: bool = False
    closed: bool = False
    recovery: bool = False
    retries: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The guards by name."""
        claims = CLAIMS_CLOSED if self.closed else CLAIMS
        chosen = ((self.claims, claims), (self.recovery, RECOVERY), (self.retries, RETRIES))
        return tuple(name for is_chosen, name in chosen if is_chosen)


NONE: Final = Guards()


def parse(names: str | Iterable[str]) -> Guards:
    """Return the guards with these names, a list or a text with commas. Raises ValueError, which names an unknown one."""
    listed = names.split(",") if isinstance(names, str) else list(names)
    chosen = {str(name).strip() for name in listed} - {""}
    if unknown := sorted(chosen - set(NAMES)):
        raise ValueError(f"there is no guard {unknown[0]!r}; the guards are {', '.join(NAMES)}")
    closed = CLAIMS_CLOSED in chosen
    return Guards(claims=closed or CLAIMS in chosen, closed=closed, recovery=RECOVERY in chosen, retries=RETRIES in chosen)
