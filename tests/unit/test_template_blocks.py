"""The elements that many pages share, as they come out of their tags."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.template import engines
from django.test import RequestFactory

from tasks_app.web.templatetags import zenith

MOMENT = datetime(2026, 3, 1, 12, 30, 5, 678901, tzinfo=UTC)
TEXT = """<b>"it's"</b>"""


def html(source: str, **context: object) -> str:
    """Render a template for a request to a page."""
    template = engines["django"].from_string("{% load blocks zenith %}" + source)
    return template.render(context, RequestFactory().get("/tasks/?q=x"))


@pytest.fixture(autouse=True)
def a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zenith.timezone, "now", lambda: MOMENT.replace(second=8))


def test_a_relative_time_has_the_exact_one_as_its_title() -> None:
    assert html("{% relative_time at %}", at=MOMENT) == (
        '<time datetime="2026-03-01T12:30:05.678901+00:00" data-relative title="2026-03-01 12:30:05 UTC">3 s ago</time>'
    )


def test_a_relative_time_can_go_without_its_title() -> None:
    assert "title" not in html("{% relative_time at exact=False %}", at=MOMENT)


def test_no_moment_is_a_dash() -> None:
    assert html("{% relative_time at %}", at=None) == "—"


def test_a_time_of_day_has_the_whole_moment_as_its_title() -> None:
    assert ">12:30:05<" in html("{% time_of_day at %}", at=MOMENT)
    assert ">12:30:05.678<" in html("{% time_of_day at milliseconds=True %}", at=MOMENT)
    assert 'title="2026-03-01 12:30:05.678901 UTC"' in html("{% time_of_day at %}", at=MOMENT)


def test_a_badge_explains_its_status_if_asked_to() -> None:
    assert html("{% status_badge status %}", status="SUCCESS") == '<span class="st st-success">Success</span>'
    assert " title=" in html("{% status_badge status explained=True %}", status="SUCCESS")


def test_a_post_form_carries_the_token_against_forgery() -> None:
    drawn = html('{% post_form "tasks:resume_queue" "a/b" %}<button>Resume</button>{% endpost_form %}')
    assert re.search(r'<input type="hidden" name="csrfmiddlewaretoken" value="\w{64}">', drawn)
    assert drawn.startswith('<form method="post" action="/queues/')
    assert drawn.endswith("<button>Resume</button></form>")


def test_a_dialog_link_leads_back_to_the_page_it_stands_on() -> None:
    drawn = html('{% dialog_link "Cancel" "tasks:act" "cancel" icon="x" about=4711 %}')
    assert "?id=4711&amp;next=/tasks/" in drawn
    assert " data-dialog>" in drawn


@pytest.mark.parametrize(
    "source",
    [
        '{% table_box "rows" text %}{% endtable_box %}',
        "{% card_head 'rows' text aside=text %}",
        "{% row_box text %}{{ text }}{% endrow_box %}",
        '{% selection_bar text "/act/" %}{{ text }}{% endselection_bar %}',
        '{% search_box "rows-q" name="q" value=text label=text placeholder=text %}',
        "{% columns text %}",
        "{% file_links text %}",
    ],
)
def test_what_a_tag_is_given_is_escaped_once(source: str) -> None:
    drawn = html(source, text=TEXT)
    assert "&lt;b&gt;&quot;it&#x27;s&quot;&lt;/b&gt;" in drawn
    assert "<b>" not in drawn.replace("<b data-select-count>", "")
    assert "&amp;lt;" not in drawn


@pytest.mark.parametrize(
    ("query", "address"),
    [("", "?format=csv"), ("?", "?format=csv"), ("q=a&", "?q=a&amp;format=csv"), ("?q=a&b=c", "?q=a&amp;b=c&amp;format=csv")],
)
def test_a_list_is_saved_as_it_is_filtered(query: str, address: str) -> None:
    assert f'href="{address}"' in html("{% file_links query %}", query=query)


def test_a_fragment_replaces_the_one_on_the_page_only_when_it_comes_alone() -> None:
    assert html('{% refetch on="nodes" every=5 %}') == 'data-refetch data-on="nodes" data-every="5"'
    assert html("{% refetch %}", oob=True) == 'data-refetch hx-swap-oob="true"'
