"""Template filters for numbers, times and statuses (the exact value belongs in a title beside them), and tags for links."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django import template
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from tasks_app.web import links
from tasks_app.web.trends import Trend
from zenith_site.common import site_paths
from zenith_site.common.callers import applications_of
from zenith_site.common.humanize import NOTHING, duration, rough_duration, size, whole_duration
from zenith_site.common.masking import mask_text
from zenith_site.common.names_in_urls import as_segment
from zenith_site.common.navigation import Entry, sections_for, tabs_of
from zenith_worker.wire.states import Status

register = template.Library()
register.filter(duration)
register.filter(size)
register.filter(rough_duration)
register.simple_tag(links.tasks_with)
register.simple_tag(links.queue_url)
register.simple_tag(links.worker_url)
register.simple_tag(links.tell_url)

#: Length up to which an id is not shortened.
_SHORT: Final = 20
#: Length up to which JSON is coloured; longer JSON stays plain, since the markup makes it several times as long.
COLOURED: Final = 20_000
_JSON_TOKEN: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=:))|(?P<str>"(?:[^"\\]|\\.)*")|(?P<num>-?\b\d[\d.eE+-]*|\b(?:true|false|null)\b)'
)


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw an icon of the sprite, hidden from screen readers."""
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>',
        static("vendor/tabler/sprite.svg"), name,
    )  # fmt: skip


@register.simple_tag(takes_context=True)
def navigation(context: dict[str, Any]) -> list[list[Entry]]:
    """Return the navigation's sections for whoever requests the page."""
    user = getattr(context.get("request"), "user", None)
    return sections_for(None if user is None else applications_of(user))


@register.inclusion_tag("_nav_entry.html", takes_context=True)
def nav_entry(
    context: dict[str, Any], url_name: str, label: str, icon: str, key: str = "", tab_of: str = ""
) -> dict[str, Any]:  # fmt: skip
    """Draw an entry of the navigation, if its page exists.

    `key` is the letter that opens the page after `g`. The count beside the entry is `nav_counts[url_name]` of the context.
    A page that is a tab of another (`tab_of`) is only there for its key and the palette.
    """
    path = context["request"].path if "request" in context else ""
    counts = context.get("nav_counts") or {}
    count = counts.get(url_name)
    url = _url(url_name)
    urls = [url] if tab_of else [_url(entry.url_name) for entry in tabs_of(url_name)] or [url]
    # Every path begins with that of the overview.
    home = f"{site_paths.site_root()}/"
    return {
        "url": url, "label": label, "icon_name": icon, "key": key,
        "count": count, "count_id": css_id(url_name),
        # A page further down marks its entry, too; but every page is below the Overview.
        "current": "page" if path == url else "true" if any(one and one != home and path.startswith(one) for one in urls) else "",
        "tab_of": tab_of,
    }  # fmt: skip


@register.inclusion_tag("_page_tabs.html")
def page_tabs(url_name: str) -> dict[str, Any]:
    """Draw the tabs between the pages that share an entry of the navigation; `url_name` is this page's own."""
    entries = [(entry, url) for entry in tabs_of(url_name) if (url := _url(entry.url_name))]
    return {"tabs": [{"label": entry.label, "url": url, "current": entry.url_name == url_name} for entry, url in entries]}


@register.simple_tag
def crumb(url_name: str, label: str, *args: object) -> SafeString:
    """Draw a step of the breadcrumbs, if its page exists."""
    url = _url(url_name, *args)
    return format_html('<li><a href="{}">{}</a></li>', url, label) if url else SafeString()


@register.simple_tag(takes_context=True)
def sort_header(context: dict[str, Any], key: str, label: str, default: str = "", *, right: bool = False) -> SafeString:
    """Draw a column's header as a link that sorts by it, or reverses the order if the list is already sorted by it.

    The URL has the order as `sort=key` or `sort=-key`; `default` is the list's own. The first click sorts in
    descending order.
    """
    request = context["request"]
    current = request.GET.get("sort") or default
    down, up = current == f"-{key}", current == key
    query = request.GET.copy()
    query.pop("cursor", None)
    query["sort"] = key if down else f"-{key}"
    return format_html(
        '<th scope="col"{}{}><a class="sort" href="?{}" hx-boost="true" hx-swap="none">{}{}</a></th>',
        SafeString(f' aria-sort="{"descending" if down else "ascending"}"' if down or up else ""),
        SafeString(' class="right"' if right else ""),
        query.urlencode(), label, icon("arrow-down" if down else "arrow-up" if up else "arrows-sort"),
    )  # fmt: skip


@register.filter
def css_id(url_name: str) -> str:
    """Return a URL's name as part of an element's id."""
    return url_name.replace(":", "-").replace("_", "-")


@register.filter
def name_id(name: str) -> str:
    """Return a worker's or queue's name as part of an element's id: without spaces, and unique for each name."""
    return as_segment(name)


@register.filter
def percent(share: float | None) -> str:
    """Format a percentage as 99.6 %; only all is 100 %, and only none is 0 %."""
    if share is None:
        return NOTHING
    shown = share if share in (0, 100) else min(max(share, 0.1), 99.9)
    return f"{shown:.1f}".removesuffix(".0") + " %"


@register.filter
def ago(moment: datetime | None) -> str:
    """Format a time as "3 s ago" or "in 5 m"; static/js/time.js uses the same wording."""
    if moment is None:
        return NOTHING
    seconds = (timezone.now() - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{whole_duration(seconds)} ago" if seconds > 0 else f"in {whole_duration(-seconds)}"


@register.filter
def masked(text: str) -> str:
    """Mask the secrets in a message."""
    return mask_text(str(text))


@register.filter
def compact(number: int) -> str:
    """Format a count as 1,240 or 25.1 k or 3.2 M."""
    if abs(number) < 10_000:
        return f"{number:,}"
    for unit, suffix in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if abs(number) >= unit * 0.99995:  # would round up to 1000.0 of the unit below
            return f"{number / unit:.1f} {suffix}"
    return f"{number:,}"


@register.filter
def short_id(id_: UUID | str) -> str:
    """Shorten an id to its start (the time) and its end (where the ids of one batch differ)."""
    text = str(id_)
    return text if len(text) <= _SHORT else f"{text[:8]}…{text[-7:]}"


@register.filter
def status_class(status: str) -> str:
    """Return the CSS class suffix of a status."""
    return Status(status).value.lower()


@register.filter
def status_label(status: str) -> str:
    """Return the word on the badge of a status."""
    return str(Status(status).label)


@register.filter
def status_sentence(status: str) -> str:
    """Return what a status means."""
    return Status(status).sentence


def _url(name: str, *args: object) -> str:
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


@register.simple_tag
def site_root() -> str:
    """Return the prefix for a path that is not made by `url`."""
    return site_paths.site_root()


@register.simple_tag
def sparkline(
    values: Sequence[float | None], label: str, failed: Sequence[float | None] = (), *, stretched: bool = False
) -> SafeString:
    """Draw numbers as a row of small bars, the newest on the right; `label` describes them in words.

    An unknown value (None) is a gap. `failed` are parts of the values, which are drawn over them in their own colour.
    `stretched`: the bars fill any width.
    """
    most = max([*(value for value in values if value is not None), 1])
    # One path for all bars: a list has a sparkline in each row, and separate elements would take ten times as long.
    drawn = format_html('<path d="{}"></path>', _bars(values, most, 0.6))
    if any(failed):
        drawn += format_html('<path class="failed" d="{}"></path>', _bars(failed, most, 0))
    return format_html(
        '<svg class="spark" viewBox="0 0 {} 20"{} role="img" aria-label="{}">{}</svg>',
        max(4 * len(values) - 1, 1), SafeString(' preserveAspectRatio="none"' if stretched else ""), label, drawn,
    )  # fmt: skip


def _bars(values: Sequence[float | None], most: float, least: float) -> str:
    """Return the path of bars, each at least visible; `least` is how high a zero is."""
    sizes = [None if value is None else max(18 * value / most, 1.2) if value else least for value in values]
    return "".join(f"M{4 * index} 20v-{size:.1f}h3V20" for index, size in enumerate(sizes) if size)


@register.simple_tag
def trend(line: Trend, *, stretched: bool = False) -> SafeString:
    """Draw the history of a queue or worker, with its words as a title."""
    label = f"{line.title} in the last hour: {line.words}"
    return format_html(
        '<span class="trend" title="{}">{}</span>', label, sparkline(line.values, label, line.failed, stretched=stretched)
    )


@register.filter
def item(mapping: dict[Any, Any], key: Any) -> Any:
    """Return a mapping's value for a key that is in a variable."""
    return mapping.get(key)


@register.filter
def json_code(text: str) -> SafeString:
    """Colour the names, strings and numbers in JSON."""
    if len(text) > COLOURED:
        return escape(text)
    parts, position = [], 0
    for token in _JSON_TOKEN.finditer(text):
        parts += [
            escape(text[position : token.start()]),
            format_html('<span class="json-{}">{}</span>', token.lastgroup, token[0]),
        ]
        position = token.end()
    return mark_safe("".join([*parts, escape(text[position:])]))  # noqa: S308 -- every part is escaped
