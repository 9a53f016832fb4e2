"""Charts in a real browser: drawn again where scripts run, read by crosshair and by key, dragged over, and alive."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Site, Visitor
from tests.rollups import ended

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

CHARTS = ("throughput", "efficiency", "runtime", "waiting", "compared")


#: The cells of a row of the table, and what the legend says: its values, and the time.
READ = """([chart, row]) => {
    const card = document.getElementById(chart);
    const texts = (elements) => Array.from(elements, (element) => element.textContent.trim());
    return [
        texts(card.querySelectorAll("tbody tr")[row].cells),
        texts(card.querySelectorAll("button[data-series] [data-value]")),
        card.querySelector("[data-at]").textContent,
    ];
}"""


def history(minutes: int = 20) -> None:
    """Count what ended in each of the last minutes, of two tasks, with times of all sizes."""
    now = time.time()
    for back in range(1, minutes):
        seconds = 0.0003 * 2.7**back % 9000
        at = now - 60 * back
        ended(at, name="steady", succeeded=3 * back, failed=back % 3, runs=[seconds] * 3, waits=[seconds / 9] * 3)
        ended(at, name="other", queue="slow", succeeded=1500, runs=[0.04])


def opened(visitor: Visitor, site: Site, path: str = "analytics/?window=15m", *, scripts: bool = True) -> Page:
    """Open a page with charts; wait for the drawings."""
    page = visitor.logged_in(path, scripts=scripts)
    if scripts:
        page.locator("#throughput .uplot canvas").wait_for()
        page.locator("#connection[data-state='live']").wait_for()
    return page


def legend(page: Page, chart: str) -> list[str]:
    """What the legend says of each line."""
    return [text.strip() for text in page.locator(f"#{chart} button[data-series] [data-value]").all_inner_texts()]


def at(page: Page, chart: str = "throughput") -> str:
    """Which time the legend is about."""
    return page.locator(f"#{chart} [data-at]").inner_text()


def row_at(page: Page) -> int:
    """Which row of the table the legend is about: the same place in the drawing, also once a new minute has moved the times."""
    return page.evaluate(
        """() => {
            const card = document.getElementById("throughput");
            const said = card.querySelector("[data-at]").textContent;
            return Array.from(card.querySelectorAll("tbody tr")).findIndex((row) =>
                said.includes(row.cells[0].textContent.trim().slice(-5)));
        }"""
    )


def over(page: Page, chart: str = "throughput") -> Locator:
    return page.locator(f"#{chart} .u-over")


def point_at(page: Page, share: float) -> None:
    """Move the mouse over a chart, so far from its left edge."""
    box = over(page).bounding_box()
    assert box
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)


def test_the_drawing_takes_the_place_of_the_servers(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    for chart in CHARTS:
        if chart != "efficiency":
            assert page.locator(f"#{chart} canvas").is_visible()
        assert page.locator(f"#{chart} svg.plot").is_hidden()
    assert page.evaluate("window.violations") == []


def test_every_step_reads_like_the_table(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    page.locator("#throughput-plot").focus()
    page.keyboard.press("Home")
    for row in range(page.locator("#throughput tbody tr").count()):
        for chart in CHARTS:
            # In one go, since an engine looks at the workers meanwhile.
            (when, *values), said, time_said = page.evaluate(READ, [chart, row])
            assert said == values, (chart, when)
            assert when[-5:] in time_said
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert (at(page), at(page, "efficiency")) == ("per minute", "percent")


def test_the_crosshair_says_the_values_under_the_mouse_in_all_charts(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    newest = legend(page, "throughput")
    point_at(page, 0.3)
    assert re.fullmatch(r"\d\d \w+ \d\d:\d\d \u2013 \d\d:\d\d", at(page))
    assert legend(page, "throughput") != newest
    assert at(page, "runtime") == at(page)
    page.mouse.move(5, 5)
    assert (at(page), legend(page, "throughput")) == ("per minute", newest)


def test_a_time_that_is_dragged_over_becomes_the_pages_own(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    page.evaluate("window.survives = 'yes'")
    point_at(page, 0.25)
    page.mouse.down()
    point_at(page, 0.6)
    page.mouse.up()
    page.wait_for_url(re.compile(r"since=[^&]+&until="))
    page.locator("#range-own summary", has_text="\N{EN DASH}").wait_for()
    assert page.locator(".range [aria-current]").count() == 0
    assert 5 <= page.locator("#throughput tbody tr").count() <= 8
    assert page.evaluate("window.survives") == "yes"
    page.reload()
    assert 5 <= page.locator("#throughput tbody tr").count() <= 8
    page.locator("#throughput-key-2").click()
    page.get_by_role("link", name="15 m").click()
    page.locator(".range [aria-current]", has_text="15 m").wait_for()
    assert "since" not in page.url
    in_order(page)
    assert page.locator("#throughput-key-2").get_attribute("aria-pressed") == "false"


def test_a_time_is_chosen_with_keys(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    page.locator("#throughput-plot").focus()
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    assert page.locator("#throughput .u-select").evaluate("one => one.offsetWidth") > 0
    page.keyboard.press("ArrowRight")
    assert page.locator("#throughput .u-select").evaluate("one => one.offsetWidth") == 0, "without Shift nothing is chosen"
    page.keyboard.press("Enter")
    assert "since" not in page.url
    for key in ("Shift+ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowRight"):
        page.keyboard.press(key)
    page.keyboard.press("Escape")
    assert page.locator("#throughput .u-select").evaluate("one => one.offsetWidth") == 0
    for key in ("End", "Shift+ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowLeft", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url(re.compile(r"since=[^&]+&until="))
    page.locator("#range-own summary", has_text="\N{EN DASH}").wait_for()
    assert page.locator("#throughput tbody tr").count() == 5


def test_a_time_is_typed_as_well(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    page.locator("#range-own summary").click()
    page.get_by_label("From (UTC)").fill("2020-01-31T12:00")
    page.get_by_label("Until (UTC)").fill("2020-01-31T12:30")
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("from 31 Jan 12:00 until 31 Jan 12:30 UTC").wait_for()
    assert page.locator("#throughput").get_by_text("No data").is_visible()
    assert page.evaluate("window.violations") == []


def in_order(page: Page) -> None:
    """Wait until every chart is drawn, reads like its table, and takes keys."""
    page.wait_for_function(
        """() => Array.from(document.querySelectorAll("[data-plot]")).every((box) =>
            box.tabIndex === 0 && box.querySelector("canvas") && box.querySelector("svg").checkVisibility() === false &&
            JSON.parse(box.dataset.plot).series[0].values.length === box.closest(".chart").querySelectorAll("tbody tr").length)"""
    )
    page.locator("#throughput-plot").focus()
    page.keyboard.press("Home")
    cells, said, _ = page.evaluate(READ, ["throughput", 0])
    assert said == cells[1:]


def test_a_line_is_taken_out_by_key_and_stays_out(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    before = over(page).locator("..").locator("canvas").evaluate("(canvas) => canvas.toDataURL()")
    page.locator("#throughput-key-1").focus()
    page.keyboard.press("Space")
    key = page.get_by_role("button", name=re.compile("^Finished"))
    assert key.get_attribute("aria-pressed") == "false"
    page.wait_for_function("(before) => document.querySelector('#throughput canvas').toDataURL() !== before", arg=before)
    read_again(page)
    assert key.get_attribute("aria-pressed") == "false"
    assert page.evaluate("document.activeElement.id") == "throughput-key-1"
    page.keyboard.press("Space")
    assert key.get_attribute("aria-pressed") == "true"


def read_again(page: Page) -> None:
    """Count something new, and have the page read it."""
    ended(time.time(), name="newest", succeeded=777)
    page.evaluate("document.dispatchEvent(new CustomEvent('zenith:changed'))")
    page.locator("#by-task-box", has_text="newest").wait_for()


def test_news_move_neither_the_crosshair_nor_the_drawing(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    point_at(page, 0.3)
    row, drawing = row_at(page), page.locator("#throughput .uplot").element_handle()
    assert row >= 0
    read_again(page)
    assert page.evaluate("(drawing) => drawing.isConnected", drawing)
    assert row_at(page) == row
    assert page.locator("#throughput [data-whole]").is_hidden()
    page.mouse.move(5, 5)
    # Of the whole period again, not of its last step.
    assert page.locator("#throughput [data-whole]").is_visible()
    whole = page.locator("#throughput button[data-series] [data-value]").evaluate_all("all => all.map(one => one.dataset.value)")
    assert legend(page, "throughput") == whole
    assert int(whole[0].replace(",", "")) > 15_000


def test_another_theme_draws_in_its_own_colours(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    picture = "document.querySelector('#throughput canvas').toDataURL()"
    for theme in ("dark", "light"):
        before = page.evaluate(picture)
        page.locator("[popovertarget='profile']").click()
        page.locator(f"[data-theme-choice='{theme}']").click()
        page.keyboard.press("Escape")
        page.wait_for_function(f"(before) => {picture} !== before", arg=before)


def test_a_chart_follows_the_width_of_the_page(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site)
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("() => document.querySelector('#throughput .uplot').offsetWidth < 380")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_there_are_lines_a_table_and_a_form(visitor: Visitor, site: Site) -> None:
    history()
    page = opened(visitor, site, scripts=False)
    assert page.locator("#throughput svg.plot").is_visible()
    assert page.locator("#throughput .plain-only").first.is_visible()
    page.locator("#throughput summary").click()
    assert page.locator("#throughput table").is_visible()
    page.locator("#range-own summary").click()
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile("since="))
    assert page.locator("#throughput svg.plot").is_visible()
    page.locator("#compare-series").select_option("runtime_p95")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Runtime p95").wait_for()
