"""The elements that many pages share: times, headings, tables, search boxes, checkboxes and buttons.

docs/pages.md lists them; tests/templates/gallery/ shows them in use.
"""

from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

from django import template
from django.template import Context
from django.template.defaulttags import CsrfTokenNode
from django.urls import reverse
from django.utils.dateformat import format as format_date
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from tasks_app.web.templatetags.zenith import ago, status_class, status_label, status_sentence
from tasks_app.web.templatetags.zenith import icon as draw_icon
from zenith_site.common.humanize import NOTHING

register = template.Library()

_EXACT: Final = "Y-m-d H:i:s T"
_EXACT_WITH_FRACTION: Final = "Y-m-d H:i:s.u T"


@register.simple_tag
def relative_time(moment: datetime | None, *, exact: bool = True, css: str = "", before: str = "") -> SafeString:
    """Draw a moment as "3 s ago"; static/js/time.js keeps the words true.

    Args:
        moment: the moment; for None there is only a dash.
        exact: whether the exact time is the element's title.
        css: classes of the element.
        before: words before the exact time in the title.
    """
    if moment is None:
        return SafeString(NOTHING)
    return format_html(
        '<time{} datetime="{}" data-relative{}>{}</time>',
        _attribute("class", css), _date(moment, "c"),
        _attribute("title", f"{before}{_date(moment, _EXACT)}") if exact else "", ago(moment),
    )  # fmt: skip


@register.simple_tag
def time_of_day(moment: datetime, *, milliseconds: bool = False) -> SafeString:
    """Draw the time of a moment on its day, with the whole of it as the title."""
    text = _date(moment, "H:i:s.u")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        _date(moment, "c"), _date(moment, _EXACT_WITH_FRACTION), text[:12] if milliseconds else text[:8],
    )  # fmt: skip


@register.simple_tag
def date_and_time(moment: datetime) -> SafeString:
    """Draw a moment in full, to the second."""
    return format_html('<time datetime="{}">{}</time>', _date(moment, "c"), _date(moment, "Y-m-d H:i:s"))


@register.simple_tag
def status_badge(status: str, *, explained: bool = False) -> SafeString:
    """Draw the badge of a task's status; `explained` puts the status' sentence into its title."""
    return format_html(
        '<span class="st st-{}"{}>{}</span>',
        status_class(status), _attribute("title", status_sentence(status)) if explained else "", status_label(status),
    )  # fmt: skip


@register.simple_tag
def card_head(key: str, title: str, aside: object = "") -> SafeString:
    """Draw the head of a card, whose section is labelled by `KEY-title`; `aside` stands to the right."""
    return format_html(
        '<div class="card-head"><h2 id="{}-title">{}</h2>{}</div>',
        key, title, format_html('<span class="aside">{}</span>', aside) if aside != "" else "",
    )  # fmt: skip


@register.simple_block_tag
def table_box(content: str, key: str, label: str, css: str = "") -> SafeString:
    """Put a table into its box, the only part of a page that may scroll sideways.

    Args:
        content: the head and the body of the table.
        key: the id of the box is `KEY-box`, by which live updates keep its scroll.
        label: what the table lists, for a screen reader.
        css: classes of the table beside `table`.
    """
    return format_html(
        '<div class="table-box" id="{}-box" tabindex="0" role="region" aria-label="{}, scrolls sideways">'
        '<table class="{}">{}</table></div>',
        key, label, f"table {css}".rstrip(), content,
    )  # fmt: skip


@register.simple_tag
def columns(*labels: str, right: bool = False) -> SafeString:
    """Draw the heads of columns; `right` aligns them with numbers."""
    css = SafeString(' class="right"') if right else SafeString()
    return format_html_join("", '<th scope="col"{}>{}</th>', ((css, label) for label in labels))


@register.simple_tag
def select_page() -> SafeString:
    """Draw the head of the column of checkboxes, which selects every row of the page."""
    return SafeString(
        '<th class="box"><input type="checkbox" class="needs-script" aria-label="Select this page" data-select-page></th>'
    )


@register.simple_block_tag
def row_box(content: str, value: object, name: str = "id", *, enabled: object = True) -> SafeString:
    """Draw the cell with a row's checkbox; the content says what it selects."""
    return format_html(
        '<td class="box"><input type="checkbox" name="{}" value="{}" form="selection"'
        ' aria-label="Select {}"{} data-row-box></td>',
        name, value, content, "" if enabled else SafeString(" disabled"),
    )  # fmt: skip


@register.simple_block_tag
def selection_bar(content: str, label: str, action: str, matching: object = 0) -> SafeString:
    """Draw the bar that takes the place of the filters once rows are selected.

    Args:
        content: hidden fields and buttons; each button asks before it acts.
        label: what is selected: "Selected tasks".
        action: where the first button leads.
        matching: how many rows the filter lets through, if all of them can be selected.
    """
    return format_html(
        '<form id="selection" class="selection-bar" action="{}" data-select-bar data-matching="{}">'
        "<b data-select-count>{}</b>{}{}</form>",
        action, matching, label, content, select_none(),
    )  # fmt: skip


@register.simple_tag
def select_none() -> SafeString:
    """Draw the button that ends a selection."""
    return format_html(
        '<button type="button" class="icon-button needs-script" aria-label="Select none" data-select-none>{}</button>',
        draw_icon("x"),
    )


@register.simple_tag
def selection_button(label: str, icon: str, action: str = "", *, primary: bool = False) -> SafeString:
    """Draw a button of the selection bar; `action` is where it leads, if not where the bar does."""
    return format_html(
        '<button type="submit" class="button button-small{}"{} data-dialog>{} {}</button>',
        " button-primary" if primary else "", _attribute("formaction", action), draw_icon(icon), label,
    )  # fmt: skip


@register.simple_tag(takes_context=True)
def dialog_link(
    context: Context,
    label: str,
    url_name: str,
    *args: object,
    icon: str,
    about: object = None,
    css: str = "button button-small",
) -> SafeString:
    """Draw a link that looks like a button and opens a question in the page's dialog.

    Args:
        context: the template's context.
        label: the verb on the button.
        url_name: the name of the question's URL, with `args`.
        args: see `url_name`.
        icon: the icon before the label.
        about: the id of what the question is about, if it stands in the query; the answer then leads back to this page.
        css: its classes; "menu-item" in a menu.
    """
    url = reverse(url_name, args=args)
    if about is not None:
        url += "?" + urlencode({"id": about, "next": context["request"].path}, quote_via=quote, safe="/")
    return format_html('<a class="{}" href="{}" data-dialog>{} {}</a>', css, url, draw_icon(icon), label)


@register.simple_block_tag(takes_context=True)
def post_form(context: Context, content: str, url_name: str, *args: object) -> SafeString:
    """Draw a form that posts to a URL; with script the page stays open. It carries the token against forgery."""
    url = reverse(url_name, args=args)
    return format_html(
        '<form method="post" action="{}" hx-post="{}" hx-swap="none">{}{}</form>',
        url, url, CsrfTokenNode().render(context), content,
    )  # fmt: skip


@register.simple_tag
def peek_cell(task_id: object, about: str) -> SafeString:
    """Draw the cell with a row's button that shows its task in the side panel; without script it leads to the task's page.

    `about` names the task for a screen reader.
    """
    return format_html(
        '<td class="row-peek"><a class="icon-button" href="{}" aria-label="Peek at {}" data-peek>{}</a></td>',
        reverse("tasks:task", args=[task_id]), about, draw_icon("eye"),
    )  # fmt: skip


@register.simple_tag
def peek_head() -> SafeString:
    """Draw the head of the column of `peek_cell`."""
    return SafeString('<th scope="col"><span class="visually-hidden">Peek</span></th>')


@register.simple_tag
def copy_button(key: str, of: str) -> SafeString:
    """Draw the button `copy-KEY`, which copies the text of the element with the id `of`."""
    return format_html(
        '<button type="button" id="copy-{}" class="button button-small needs-script" data-copy="{}">{} Copy</button>',
        key, of, draw_icon("copy"),
    )  # fmt: skip


@register.simple_tag
def file_links(query: str = "", css: str = "button button-small", of: str = "") -> SafeString:
    """Draw the links that save a list as CSV and as JSON, filtered as `query` says; `of` names the list, if there are several."""
    query = query.strip("?&")
    return format_html_join(
        " ", '<a class="{}" href="?{}format={}" download>{}{}</a>',
        ((css, f"{query}&" if query else "", kind.lower(), f"{of}, " if of else "", kind) for kind in ("CSV", "JSON")),
    )  # fmt: skip


@register.simple_tag(takes_context=True)
def refetch(context: Context, *, on: str = "", every: int | None = None) -> SafeString:
    """Write the attributes of a fragment that is read again when the page's data change.

    Args:
        context: the template's context; `oob` in it says that the fragment replaces the one on the page.
        on: only for these topics.
        every: also every so many seconds.
    """
    return format_html(
        "data-refetch{}{}{}",
        _attribute("data-on", on), _attribute("data-every", every or ""),
        SafeString(' hx-swap-oob="true"') if context.get("oob") else "",
    )  # fmt: skip


@register.inclusion_tag("_search_box.html")
def search_box(key: str, name: str, value: str, label: str, placeholder: str, **options: object) -> dict[str, object]:
    """Draw a field of a filter bar.

    Options: `icon` before the field; `focus=True` if the key `/` goes there; `search=True` for free text, which shows
    that key as well; `options_from`, the id of a datalist; `maxlength` (200); `complete=True` for suggestions by
    static/js/suggest.js.
    """
    return {"key": key, "name": name, "value": value, "label": label, "placeholder": placeholder, **options}


def _attribute(name: str, value: object) -> SafeString:
    return format_html(' {}="{}"', SafeString(name), value) if value != "" else SafeString()


def _date(moment: datetime, pattern: str) -> str:
    return format_date(localtime(moment), pattern)
