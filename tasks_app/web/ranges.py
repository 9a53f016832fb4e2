"""The time that a page shows, as its address says it: a preset, or from when until when; and the links to other times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from pydantic import ValidationError

from tasks_app.analytics.window import Bucket, Preset, SteppedWindow, TimeWindow
from zenith_site.common.errors import InvalidQueryError, Problem

LABELS: Final = {
    Preset.M15: "15 m", Preset.H1: "1 h", Preset.H6: "6 h", Preset.H24: "24 h", Preset.D7: "7 d", Preset.D30: "30 d",
}  # fmt: skip
WORDS: Final = {
    Preset.M15: "15 minutes", Preset.H1: "hour", Preset.H6: "6 hours", Preset.H24: "24 hours", Preset.D7: "7 days",
    Preset.D30: "30 days",
}  # fmt: skip
PARAMETERS: Final = ("window", "since", "until", "bucket")
#: What a field for a time takes; it has no zone and means UTC here.
FIELD_FORMAT: Final = "%Y-%m-%dT%H:%M"


@dataclass(frozen=True)
class Range:
    """The time that is shown; `problem` is what was wrong with the one that was asked for, where the default stands in for it."""

    preset: Preset | None
    span: TimeWindow
    bucket: Bucket | None
    presets: Sequence[Preset]
    kept: Mapping[str, str]
    problem: str = ""

    @property
    def words(self) -> str:
        """Which time it is: "over the last hour", "from 24 Nov 08:00 until 24 Nov 09:30 UTC"."""
        if self.preset:
            return f"over the last {WORDS[self.preset]}"
        return f"from {self.since:%d %b %H:%M} until {self.until:%d %b %H:%M} UTC"

    @property
    def brief(self) -> str:
        """The same beside a number: "in 1 h"."""
        return f"in {LABELS[self.preset]}" if self.preset else "in this time"

    @property
    def since(self) -> datetime:
        """Its first moment."""
        return datetime.fromtimestamp(self.span.since, tz=UTC)

    @property
    def until(self) -> datetime:
        """The first moment after it."""
        return datetime.fromtimestamp(self.span.until, tz=UTC)

    @property
    def query(self) -> str:
        """The address' query for this time, with whatever else stands in it."""
        return self.query_with()

    def query_with(self, **changed: str) -> str:
        """Return the same with other values; an empty one leaves a name out."""
        values = {**self._values, **changed}
        return urlencode({name: value for name, value in values.items() if value})

    def pairs(self, *without: str) -> list[tuple[str, str]]:
        """Return the same as hidden fields of a form that has some of the names itself."""
        return [(name, value) for name, value in self._values.items() if name not in without]

    @property
    def _values(self) -> dict[str, str]:
        own = {"window": self.preset.value} if self.preset else self.fields
        return {**self.kept, **own, **({"bucket": self.bucket.value} if self.bucket else {})}

    @property
    def tabs(self) -> list[dict[str, Any]]:
        """The presets, as `_tabs.html` takes them. A step that suits one time may not suit another, so it is not kept."""
        return [
            {
                "label": LABELS[preset], "url": "?" + urlencode({**self.kept, "window": preset.value}), "count": None,
                "current": preset == self.preset, "status": "",
            }
            for preset in self.presets
        ]  # fmt: skip

    @property
    def fields(self) -> dict[str, str]:
        """What stands in the form's fields."""
        return {name: _field(getattr(self, name)) for name in ("since", "until")}

    def ended(self, *terms: str) -> str:
        """Return the address' query of the task list for what ended in this time and meets more terms of the search language."""
        return ended(self.since, None if self.preset else self.until, *terms)


def ended(since: datetime, until: datetime | None, *terms: str) -> str:
    """Return the query of the task list for what ended from a moment on, and before another one, and meets more terms."""
    bounds = [f"{name}:{moment:%Y-%m-%dT%H:%MZ}" for name, moment in (("ended_since", since), ("ended_until", until)) if moment]
    # Colons need no escape there, and a page has hundreds of these.
    return urlencode({"q": " ".join([*terms, *bounds])}, safe=":")


def asked_range(request: HttpRequest, presets: Sequence[Preset], default: Preset, kept: Mapping[str, str]) -> Range:
    """Return the time that the address names.

    Args:
        request: whose query may have `window`, or `since` and `until`, and `bucket`. A time without a zone is in UTC.
        presets: the windows that the page offers.
        default: the one shown where none is named, or what is named cannot be.
        kept: what else of the address its links keep.
    """
    given: dict[str, Any] = {name: request.GET[name] for name in PARAMETERS if request.GET.get(name)}
    try:
        given |= {name: _moment(name, given[name]) for name in ("since", "until") if name in given}
        chosen = SteppedWindow(**given)
        if chosen.window is not None and chosen.window not in presets:
            raise InvalidQueryError(Problem("window", f"{chosen.window.value!r} is none of {', '.join(presets)}"))
    except (ValidationError, InvalidQueryError) as error:
        shown = SteppedWindow(window=default)
        return Range(default, shown.span(), None, presets, kept, f"{_said(error)} Shown are the last {WORDS[default]} instead.")
    preset = None if chosen.since else chosen.window or default
    return Range(preset, chosen.model_copy(update={"window": preset}).span(), chosen.bucket, presets, kept)


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidQueryError(Problem(name, f"{text[:40]!r} is no time, such as 2026-11-01T08:30")) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _said(error: ValidationError | InvalidQueryError) -> str:
    if isinstance(error, InvalidQueryError):
        return "; ".join(f"{problem.pointer} {problem.detail}" for problem in error.problems) + "."
    return "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors()) + "."


def _field(moment: datetime) -> str:
    return f"{moment:{FIELD_FORMAT}}"
