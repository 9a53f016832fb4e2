"""Which notifications go to which channel, and how often: the operator's tables from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from zenith_site.notify.kinds import BUILT_IN, Channel, NotificationKind, Severity

ACCEPTED_ROUTES: Final = (
    "CHANNEL=WHAT,…;… with the channels "
    + ", ".join(Channel)
    + " and, of each, `all`, a least severity ("
    + ", ".join(Severity)
    + ") or kinds ("
    + ", ".join(BUILT_IN)
    + "), such as email=critical;slack=warning,dead-letter"
)
ACCEPTED_THROTTLE: Final = "seconds, and kinds with seconds of their own, such as 300 or 300,worker-gone=60; from 0 to 86400"
_DAY: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Route:
    """What one channel gets: everything of at least this severity, and these kinds."""

    least: Severity | None = None
    kinds: frozenset[NotificationKind] = field(default_factory=frozenset)

    def takes(self, kind: NotificationKind, severity: Severity) -> bool:
        """Whether the channel gets a notification of this kind and severity."""
        return kind in self.kinds or (self.least is not None and severity.rank >= self.least.rank)

    def __str__(self) -> str:
        if self.least is Severity.INFO:
            return "all"
        return ", ".join([*([f"{self.least} and above"] if self.least else []), *sorted(self.kinds)])


EVERYTHING: Final = Route(Severity.INFO)


@dataclass(frozen=True, slots=True)
class Throttle:
    """Seconds between two messages of one kind through one channel; what comes in between goes out together."""

    seconds: int
    of_kinds: Mapping[str, int]

    def of(self, kind: str) -> int:
        """Return the seconds for a kind."""
        return self.of_kinds.get(kind, self.seconds)

    def __str__(self) -> str:
        return ",".join([str(self.seconds), *(f"{kind}={seconds}" for kind, seconds in self.of_kinds.items())])


def parse_routes(text: str) -> dict[Channel, Route] | None:
    """Parse the routes of channels; a channel that is not named gets everything. Return None if the text is not valid."""
    routes = dict.fromkeys(Channel, EVERYTHING)
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        channel, separator, words = entry.partition("=")
        route = _route([word.strip() for word in words.split(",")])
        if not separator or route is None or channel.strip() not in list(Channel):
            return None
        routes[Channel(channel.strip())] = route
    return routes


def _route(words: list[str]) -> Route | None:
    words = [Severity.INFO if word == "all" else word for word in words]
    severities = [Severity(word) for word in words if word in list(Severity)]
    # Rules that people make name their channels themselves.
    kinds = frozenset(NotificationKind(word) for word in words if word in BUILT_IN)
    if len(severities) > 1 or len(severities) + len(kinds) != len(words):
        return None
    return Route(severities[0] if severities else None, kinds)


def parse_throttle(text: str) -> Throttle | None:
    """Parse a throttle such as `300,worker-gone=60`; return None if the text is not valid."""
    first, *others = (part.strip() for part in text.split(","))
    of_kinds: dict[str, int] = {}
    for entry in others:
        kind, _, seconds = entry.partition("=")
        if kind not in list(NotificationKind) or not _is_span(seconds):
            return None
        of_kinds[NotificationKind(kind)] = int(seconds)
    return Throttle(int(first), of_kinds) if _is_span(first) else None


def _is_span(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text[:6]) <= _DAY and len(text) < 6
