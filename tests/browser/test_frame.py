"""What every page shares, driven as people do: keys, palette, selection, the question before an action, live fragments."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.schedule import reschedule
from tasks_app.models import Task
from tests.browser.axe import grave_violations
from tests.browser.conftest import Site, Visitor, Watch
from tests.waiting import eventually
from zenith_site.common import live_updates

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def run_some(count: int = 3) -> list[str]:
    """Run tasks to their end."""
    done = dispatch(Dispatch(task="drill_sleep", count=count, kwargs={"seconds": 0.0}), Origin(source="api"))
    ids = [str(task_id) for task_id in done.ids]
    eventually(lambda: Task.objects.filter(id__in=ids, status="SUCCESS").count() == count)
    return ids


def gallery(visitor: Visitor, site: Site, **options: int | bool) -> Page:
    page = visitor.logged_in("gallery/", **options)
    if options.get("scripts", True):
        page.locator("#connection[data-state='live']").wait_for()
    return page


def rows(page: Page) -> int:
    return page.locator("#list tbody tr").count()


def wait_for_rows(page: Page, count: int) -> None:
    page.wait_for_function("(count) => document.querySelectorAll('#list tbody tr').length === count", arg=count)


# --- Live ---


def test_a_list_shows_new_rows_without_being_asked(visitor: Visitor, site: Site) -> None:
    run_some(1)
    page = gallery(visitor, site)
    page.evaluate("window.survives = 'yes'")
    run_some(2)
    wait_for_rows(page, 3)
    assert page.evaluate("window.survives") == "yes"


def test_rows_that_arrive_glow_and_move_nothing(visitor: Visitor, site: Site) -> None:
    run_some(1)
    page = gallery(visitor, site, width=360)

    def scrolls() -> bool:
        """Scroll the box; whether it stays, which one that is just being replaced does not."""
        page.locator(".table-box").evaluate("box => { box.scrollLeft = 40; }")
        page.wait_for_load_state("networkidle")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return bool(page.locator(".table-box").evaluate("box => box.scrollLeft") == 40)

    assert eventually(scrolls)
    run_some(2)
    wait_for_rows(page, 3)
    assert page.locator(".table-box").evaluate("box => box.scrollLeft") == 40
    assert page.locator("tr.arrived").count() <= 2


def test_where_nearly_all_is_new_nothing_glows(visitor: Visitor, site: Site) -> None:
    page = visitor.logged_in("tasks/")
    page.locator("#connection[data-state='live']").wait_for()
    run_some(13)
    wait_for_rows(page, 13)
    assert page.locator("tr.arrived").count() == 0


def test_what_changes_without_an_event_is_told_by_topic(visitor: Visitor, site: Site) -> None:
    page = gallery(visitor, site)
    run_some(1)
    wait_for_rows(page, 1)
    # Quiet now: what the database alone knows is shown only once somebody says so.
    Task.objects.update(name="renamed")
    live_updates.refresh_pages("another topic")
    assert page.get_by_role("link", name="drill_sleep").count() == 1
    live_updates.refresh_pages("gallery")
    page.get_by_role("link", name="renamed").wait_for()


def test_a_task_is_followed_to_its_end_on_its_own_page(visitor: Visitor, site: Site) -> None:
    page = visitor.logged_in()
    done = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 1.0}), Origin(source="api"))
    page.goto(f"{site.url}tasks/{done.ids[0]}/")
    page.evaluate("window.survives = 'yes'")
    page.locator(".task-head .st-success").wait_for()
    page.locator("#result-text").wait_for()
    assert page.evaluate("window.survives") == "yes"


def test_what_becomes_of_a_tasks_children_shows_on_its_page_when_it_has_long_ended(visitor: Visitor, site: Site) -> None:
    (parent,) = run_some(1)
    later = timezone.now() + timedelta(days=1)
    held = dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 0.0}, not_before=later), Origin(source="api"))
    Task.objects.filter(id=held.ids[0]).update(parent_id=parent)
    page = visitor.logged_in(f"tasks/{parent}/")
    page.locator("#connection[data-state='live']").wait_for()
    page.locator(".relatives .st-scheduled").wait_for()
    reschedule(held.ids[0], timezone.now(), by="a test")
    page.locator(".relatives .st-success").wait_for()
    page.goto(f"{site.url}tasks/{held.ids[0]}/")
    page.get_by_role("term").filter(has_text="Parent task").wait_for()


def test_nothing_is_missed_while_the_web_process_restarts(visitor: Visitor, site: Site, watch: Watch) -> None:
    page = gallery(visitor, site)
    watch.tolerant = True
    site.web.kill()
    page.locator("#connection[data-state='reconnecting']").wait_for()
    run_some(2)
    site.start_web()
    wait_for_rows(page, 2)
    watch.tolerant = False
    run_some(1)
    wait_for_rows(page, 3)


def test_rows_stand_still_while_some_are_selected(visitor: Visitor, site: Site) -> None:
    run_some(2)
    page = gallery(visitor, site)
    page.locator("[data-row-box]").first.check()
    page.locator("#connection[data-state='paused']").wait_for()
    page.evaluate(
        """() => {
            window.frames = [];
            window.asked = [];
            const { fetch } = window;
            window.fetch = (url, ...rest) => { asked.push(url); return fetch(url, ...rest); };
            document.addEventListener("zenith:frame", ({ detail }) => frames.push(detail));
        }"""
    )
    run_some(1)
    page.wait_for_function("() => window.frames.some((frame) => frame.includes('tasks'))")
    # The page has heard the frame before the test does, and would have asked by now.
    assert "/gallery/" not in page.evaluate("window.asked")
    assert rows(page) == 2
    page.locator("[data-row-box]").first.uncheck()
    wait_for_rows(page, 3)


# --- Selecting, and the question ---


def test_the_actions_take_the_place_of_the_filters(visitor: Visitor, site: Site) -> None:
    run_some(3)
    page = gallery(visitor, site)
    assert page.locator(".filter-bar").is_visible()
    assert not page.locator(".selection-bar").is_visible()
    page.get_by_label("Select this page").check()
    page.get_by_text("3 selected").wait_for()
    assert not page.locator(".filter-bar").is_visible()
    page.get_by_label("Select none").click()
    assert page.locator("[data-row-box]:checked").count() == 0
    assert page.locator(".filter-bar").is_visible()


def test_all_that_match_can_be_selected_beyond_the_page(visitor: Visitor, site: Site) -> None:
    run_some(11)
    page = gallery(visitor, site)
    page.get_by_label("Select this page").check()
    page.get_by_text("8 selected").wait_for()
    page.get_by_label("All 11 that match").check()
    page.get_by_text("11 selected").wait_for()


def test_a_range_is_selected_with_shift(visitor: Visitor, site: Site) -> None:
    run_some(5)
    page = gallery(visitor, site)
    boxes = page.locator("[data-row-box]")
    boxes.nth(1).click()
    boxes.nth(3).click(modifiers=["Shift"])
    page.get_by_text("3 selected").wait_for()


def test_an_action_asks_in_a_dialog_and_says_what_it_did(visitor: Visitor, site: Site) -> None:
    run_some(2)
    page = gallery(visitor, site)
    page.get_by_label("Select this page").check()
    page.locator(".selection-bar").get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("2 tasks will not run.").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert page.locator("[data-row-box]:checked").count() == 2
    page.locator(".selection-bar").get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel 2 tasks").click()
    page.get_by_text("2 tasks cancelled.").wait_for()
    dialog.wait_for(state="hidden")
    assert page.url == f"{site.url}gallery/"
    assert page.locator("[data-row-box]:checked").count() == 0
    assert page.evaluate("window.violations") == []


def test_without_scripts_the_same_question_is_a_page(visitor: Visitor, site: Site) -> None:
    run_some(2)
    page = gallery(visitor, site, scripts=False)
    page.locator("[data-row-box]").first.check()
    page.locator(".selection-bar").get_by_role("button", name="Cancel").click()
    page.get_by_text("1 task will not run.").wait_for()
    page.get_by_role("button", name="Cancel 1 task").click()
    page.get_by_text("1 tasks cancelled.").wait_for()
    assert page.url == f"{site.url}gallery/"


def test_a_filter_stands_in_the_address_and_back_undoes_it(visitor: Visitor, site: Site) -> None:
    run_some(1)
    page = gallery(visitor, site)
    page.evaluate("window.survives = 'yes'")
    page.get_by_role("link", name="Failed").click()
    page.get_by_text("Nothing matches the filter").wait_for()
    assert page.url.endswith("/gallery/?status=FAILURE")
    assert page.evaluate("window.survives") == "yes"
    page.go_back()
    wait_for_rows(page, 1)
    assert page.url.endswith("/gallery/")


# --- Keys ---


def test_keys_move_through_rows_select_and_open(visitor: Visitor, site: Site) -> None:
    ids = run_some(3)
    page = gallery(visitor, site)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.get_by_text("1 selected").wait_for()
    page.keyboard.press("x")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="drill_sleep").wait_for()
    assert page.url.endswith(f"/tasks/{ids[-1]}/")


def test_the_focus_stays_on_its_row_when_rows_arrive(visitor: Visitor, site: Site) -> None:
    ids = run_some(1)
    page = gallery(visitor, site)
    page.keyboard.press("j")
    run_some(2)
    wait_for_rows(page, 3)
    assert page.evaluate("document.activeElement.id") == f"task-{ids[0]}"


def test_g_and_a_letter_go_to_a_page_but_not_while_typing(visitor: Visitor, site: Site) -> None:
    page = gallery(visitor, site)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("go")
    assert page.locator("#q").input_value() == "go"
    assert page.url == f"{site.url}gallery/"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.type("go")
    page.get_by_role("heading", name="Overview").wait_for()


def test_help_lists_the_pages_and_switches_the_keys_off(visitor: Visitor, site: Site) -> None:
    page = gallery(visitor, site)
    page.keyboard.press("?")
    help_ = page.get_by_role("dialog", name="Keyboard")
    help_.get_by_text("Overview").wait_for()
    page.get_by_label("Enable single-key shortcuts in this browser").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.type("go")
    page.reload()
    assert page.url == f"{site.url}gallery/"
    page.keyboard.press("?")
    assert not help_.is_visible()


def test_the_palette_finds_pages_and_actions(visitor: Visitor, site: Site) -> None:
    page = gallery(visitor, site)
    page.keyboard.press("Control+k")
    page.keyboard.type("light")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.keyboard.press("Control+k")
    page.keyboard.type("over")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Overview").wait_for()


def test_the_palette_finds_a_task_by_the_beginning_of_its_id(visitor: Visitor, site: Site) -> None:
    (task_id,) = run_some(1)
    page = gallery(visitor, site)
    page.keyboard.press("Control+k")
    page.keyboard.type(str(task_id)[:18])
    page.locator("#palette-list").get_by_text("drill_sleep").wait_for()
    assert grave_violations(page) == []
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}tasks/{task_id}/")


def test_a_page_below_marks_its_entry(visitor: Visitor, site: Site) -> None:
    (task_id,) = run_some(1)
    page = visitor.logged_in()
    assert page.locator(".nav [aria-current='page']").inner_text() == "Overview"
    page.goto(f"{site.url}tasks/{task_id}/")
    assert page.locator(".nav [aria-current]").all_inner_texts() == ["Tasks"]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_what_opens_over_a_page_is_accessible(visitor: Visitor, site: Site, theme: str) -> None:
    run_some(2)
    page = gallery(visitor, site)
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    for keys, dialog in (("?", "#help"), ("Control+k", "#palette")):
        page.keyboard.press(keys)
        page.locator(f"{dialog}[open]").wait_for()
        assert grave_violations(page) == []
        page.keyboard.press("Escape")
    page.get_by_label("Select this page").check()
    assert grave_violations(page) == []
    page.locator(".selection-bar").get_by_role("button", name="Cancel").click()
    page.locator("#dialog[open]").wait_for()
    assert grave_violations(page) == []
    page.keyboard.press("Escape")
    page.locator(".avatar").click()
    page.locator("#profile").get_by_text("Settings").wait_for()
    assert grave_violations(page) == []
