"""The period that a page shows, as its address gives it: a preset, or a start and an end; and links to other periods."""

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
#: The format of a form field for a time. It has no zone; here it means UTC.
FIELD_FORMAT: Final = "%Y-%m-%dT%H:%M"


@dataclass(frozen=True)
class Range:
    """The period that is shown. `problem` says why the requested one is invalid, if the default replaces it."""

    preset: Preset | None
    span: TimeWindow
    bucket: Bucket | None
    presets: Sequence[Preset]
    kept: Mapping[str, str]
    problem: str = ""

    @property
    def words(self) -> str:
        """Return the period in words: "over the last hour", "from 24 Nov 08:00 until 24 Nov 09:30 UTC"."""
        if self.preset:
            return f"over the last {WORDS[self.preset]}"
        return f"from {self.since:%d %b %H:%M} until {self.until:%d %b %H:%M} UTC"

    @property
    def brief(self) -> str:
        """Return the same, short enough to stand beside a number: "in 1 h"."""
        return f"in {LABELS[self.preset]}" if self.preset else "in this time"

    @property
    def since(self) -> datetime:
        """Return the start of the period."""
        return datetime.fromtimestamp(self.span.since, tz=UTC)

    @property
    def until(self) -> datetime:
        """Return the first moment after the period."""
        return datetime.fromtimestamp(self.span.until, tz=UTC)

    @property
    def query(self) -> str:
        """Return the address' query for this period, with the other parameters that it keeps."""
        return self.query_with()

    def query_with(self, **changed: str) -> str:
        """Return the query with some parameters changed; an empty value removes one."""
        values = {**self._values, **changed}
        return urlencode({name: value for name, value in values.items() if value})

    def pairs(self, *without: str) -> list[tuple[str, str]]:
        """Return the query as hidden fields for a form, without the names that the form has itself."""
        return [(name, value) for name, value in self._values.items() if name not in without]

    @property
    def _values(self) -> dict[str, str]:
        own = {"window": self.preset.value} if self.preset else self.fields
        return {**self.kept, **own, **({"bucket": self.bucket.value} if self.bucket else {})}

    @property
    def tabs(self) -> list[dict[str, Any]]:
        """Return the presets for `_tabs.html`. A step that suits one period may not suit another, so it is not kept."""
        return [
            {
                "label": LABELS[preset], "url": "?" + urlencode({**self.kept, "window": preset.value}), "count": None,
                "current": preset == self.preset, "status": "",
            }
            for preset in self.presets
        ]  # fmt: skip

    @property
    def fields(self) -> dict[str, str]:
        """Return the values of the form's fields."""
        return {name: _field(getattr(self, name)) for name in ("since", "until")}

    def ended(self, *terms: str) -> str:
        """Return the task list's query for tasks that ended in this period and match more search terms."""
        return ended(self.since, None if self.preset else self.until, *terms)


def ended(since: datetime, until: datetime | None, *terms: str) -> str:
    """Return the task list's query for tasks that ended since one time and before another, and match more search terms."""
    bounds = [f"{name}:{moment:%Y-%m-%dT%H:%MZ}" for name, moment in (("ended_since", since), ("ended_until", until)) if moment]
    # Colons need no escaping here, and a page has hundreds of these links.
    return urlencode({"q": " ".join([*terms, *bounds])}, safe=":")


def requested_range(request: HttpRequest, presets: Sequence[Preset], default: Preset, kept: Mapping[str, str]) -> Range:
    """Return the period that the address names.

    Args:
        request: its query may have `window`, or `since` and `until`, and `bucket`. A time without a zone is in UTC.
        presets: the windows that the page offers.
        default: the window to show if none is named, or an invalid one.
        kept: the other parameters that the page's links keep.
    """
    values: dict[str, Any] = {name: request.GET[name] for name in PARAMETERS if request.GET.get(name)}
    try:
        values |= {name: _moment(name, values[name]) for name in ("since", "until") if name in values}
        window = SteppedWindow(**values)
        if window.window is not None and window.window not in presets:
            raise InvalidQueryError(Problem("window", f"{window.window.value!r} is not one of {', '.join(presets)}"))
    except (ValidationError, InvalidQueryError) as error:
        span = SteppedWindow(window=default).span()
        return Range(default, span, None, presets, kept, f"{_error_text(error)} Showing the last {WORDS[default]} instead.")
    preset = None if window.since else window.window or default
    return Range(preset, window.model_copy(update={"window": preset}).span(), window.bucket, presets, kept)


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidQueryError(Problem(name, f"{text[:40]!r} is not a time such as 2026-11-01T08:30")) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _error_text(error: ValidationError | InvalidQueryError) -> str:
    if isinstance(error, InvalidQueryError):
        return "; ".join(f"{problem.pointer} {problem.detail}" for problem in error.problems) + "."
    return "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors()) + "."


def _field(moment: datetime) -> str:
    return f"{moment:{FIELD_FORMAT}}"
