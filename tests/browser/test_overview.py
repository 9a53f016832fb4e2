"""The Overview in a real browser: tasks move while one watches, whatever happens to the connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task
from tests.browser.conftest import PASSWORD, PATIENCE, Site, Visitor, Watch
from tests.rollups import ended
from tests.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def rows(page: Page, status: str) -> Locator:
    return page.locator(f"#stream [data-status='{status}']")


def wait_for_rows(page: Page, count: int, status: str = "SUCCESS") -> None:
    """Wait until so many rows have a status."""
    page.wait_for_function(
        "([selector, count]) => document.querySelectorAll(selector).length === count",
        arg=[f"#stream [data-status='{status}']", count],
    )


def wait_until_live(page: Page) -> None:
    page.locator("#connection[data-state='live']").wait_for()


def sleeps(count: int) -> list[str]:
    done = dispatch(Dispatch(task="drill_sleep", count=count, kwargs={"seconds": 0.0}), Origin(source="api"))
    return [str(task_id) for task_id in done.ids]


def test_ten_tasks_run_to_success_before_ones_eyes(visitor: Visitor, site: Site, watch: Watch) -> None:
    page = visitor.logged_in()
    assert page.get_by_text("No tasks yet").is_visible()
    wait_until_live(page)
    page.evaluate("window.survives = 'yes'")
    page.get_by_role("button", name="Run 10 tasks").click()
    wait_for_rows(page, 10)
    page.get_by_text("10 tasks dispatched.").wait_for()
    assert page.evaluate("window.survives") == "yes"
    assert page.locator("#stream [data-status]").count() == Task.objects.filter(status="SUCCESS").count() == 10
    page.locator("#counters").get_by_text("All is well: nothing is waiting.").wait_for()
    assert page.locator("#workers").get_by_text("browser@tests").is_visible()
    assert page.evaluate("window.violations") == []
    assert watch.hosts == {urlsplit(site.url).netloc}


def test_the_path_of_a_task_is_seen_step_by_step(visitor: Visitor) -> None:
    page = visitor.logged_in()
    wait_until_live(page)
    dispatch(Dispatch(task="drill_sleep", kwargs={"seconds": 3.0}), Origin(source="api"))
    rows(page, "STARTED").get_by_text("browser@tests").wait_for()
    rows(page, "SUCCESS").wait_for()


def test_a_failure_says_why(visitor: Visitor) -> None:
    page = visitor.logged_in()
    wait_until_live(page)
    dispatch(
        Dispatch(task="drill_fail", kwargs={"times": -1, "message": "<b>out of paper</b>"}, max_retries=0), Origin(source="api")
    )
    rows(page, "FAILURE").get_by_text("DrillError: <b>out of paper</b>").wait_for()
    page.locator("#counters").get_by_text("1 task failed in the last hour.").wait_for()


def test_what_came_of_the_time_moves_along_and_so_does_the_chart(visitor: Visitor) -> None:
    page = visitor.logged_in()
    wait_until_live(page)
    assert page.locator("#throughput").get_by_text("No data").is_visible()
    sleeps(3)
    page.locator("#throughput canvas").wait_for()
    page.locator("#succeeded b", has_text="3").wait_for()
    drawing = page.locator("#throughput .uplot").element_handle()
    sleeps(2)
    page.locator("#succeeded b", has_text="5").wait_for()
    assert page.evaluate("(drawing) => drawing.isConnected", drawing)
    page.locator("#efficiency canvas").wait_for()
    assert page.evaluate("window.violations") == []


def test_another_time_is_a_click_and_stands_in_the_address(visitor: Visitor, site: Site) -> None:
    ended(time.time() - 3 * 3600, succeeded=41)
    page = visitor.logged_in()
    # Before the scripts are there, a click is an ordinary one.
    wait_until_live(page)
    page.evaluate("window.survives = 'yes'")
    page.get_by_role("link", name="6 h").click()
    page.locator("#succeeded b", has_text="41").wait_for()
    page.wait_for_url(f"{site.url}?window=6h")
    assert page.get_by_text("over the last 6 hours").is_visible()
    assert page.evaluate("window.survives") == "yes"
    sleeps(1)
    page.locator("#succeeded b", has_text="42").wait_for()
    page.go_back()
    page.locator("#succeeded b", has_text="1").wait_for()


def test_a_counter_and_a_dead_letter_lead_to_their_lists(visitor: Visitor) -> None:
    dispatch(
        Dispatch(task="drill_fail", kwargs={"times": -1, "message": "out of paper"}, max_retries=0, count=2), Origin(source="api")
    )
    eventually(lambda: Task.objects.filter(status="FAILURE").count() == 2)
    page = visitor.logged_in()
    page.locator("#count-dead b", has_text="2").wait_for()
    page.locator("#letters").get_by_role("link", name="DrillError").click()
    page.get_by_role("heading", name="DrillError").wait_for()
    page.go_back()
    page.locator("#count-dead").click()
    page.get_by_role("heading", name="Dead letters").wait_for()


def test_a_task_leads_to_its_own_page(visitor: Visitor) -> None:
    (task_id,) = sleeps(1)
    page = visitor.logged_in()
    wait_for_rows(page, 1)
    page.locator(f"#link-{task_id}").click()
    page.get_by_role("heading", name="drill_sleep").wait_for()
    assert page.url.endswith(f"/tasks/{task_id}/")
    assert page.evaluate("window.violations") == []


def test_a_click_counts_also_when_news_come_in_the_middle_of_it(visitor: Visitor) -> None:
    (task_id,) = sleeps(1)
    page = visitor.logged_in()
    wait_until_live(page)
    wait_for_rows(page, 1)
    page.evaluate("window.frames_seen = 0; document.addEventListener('zenith:frame', () => { frames_seen += 1; })")
    page.locator(f"#link-{task_id}").hover()
    page.mouse.down()
    sleeps(1)
    page.wait_for_function("() => window.frames_seen >= 1")
    page.mouse.up()
    page.get_by_role("heading", name="drill_sleep").wait_for()
    assert page.url.endswith(f"/tasks/{task_id}/")


def test_what_was_held_back_during_a_press_is_shown_afterwards(visitor: Visitor) -> None:
    page = visitor.logged_in()
    wait_until_live(page)
    page.locator("#counters").hover()
    page.mouse.down()
    sleeps(2)
    eventually(lambda: Task.objects.filter(status="SUCCESS").count() == 2)
    page.mouse.up()
    wait_for_rows(page, 2)


def test_the_page_survives_a_restart_of_the_web_process_and_misses_nothing(visitor: Visitor, site: Site, watch: Watch) -> None:
    page = visitor.logged_in()
    wait_until_live(page)
    page.evaluate("window.survives = 'yes'")
    watch.tolerant = True
    site.web.kill()
    page.locator("#connection[data-state='reconnecting']").wait_for()
    meanwhile = sleeps(5)
    eventually(lambda: Task.objects.filter(status="SUCCESS").count() == 5)
    assert page.locator("#stream tbody tr").count() == 0
    site.start_web()
    wait_for_rows(page, 5)
    wait_until_live(page)
    watch.tolerant = False
    assert {row.get_attribute("id") for row in rows(page, "SUCCESS").all()} == {f"task-{task_id}" for task_id in meanwhile}
    # And it is live again, not only caught up.
    sleeps(1)
    wait_for_rows(page, 6)
    assert page.evaluate("window.survives") == "yes"


def test_without_scripts_the_page_works_with_a_reload(visitor: Visitor, site: Site) -> None:
    page = visitor.logged_in(scripts=False)
    assert page.locator("noscript .connection").is_visible()
    assert not page.locator("#connection").is_visible()
    page.get_by_role("button", name="Run 10 tasks").click()
    page.get_by_text("10 tasks dispatched.").wait_for()
    assert page.url == site.url
    eventually(lambda: Task.objects.filter(status="SUCCESS").count() == 10)
    page.reload()
    assert rows(page, "SUCCESS").count() == 10


@pytest.mark.parametrize("width", [320, 360])
def test_a_small_screen_needs_no_sideways_scroll(visitor: Visitor, width: int) -> None:
    dispatch(Dispatch(task="drill_fail", kwargs={"times": -1, "message": "A" * 300}, max_retries=0), Origin(source="api"))
    sleeps(3)
    page = visitor.logged_in(width=width, height=740)
    wait_for_rows(page, 3)
    rows(page, "FAILURE").wait_for()
    # The rows are there before the style sheets are, which a script does not wait for.
    page.wait_for_load_state("load")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_stranger_sees_nothing_until_the_password_is_right(visitor: Visitor, site: Site, watch: Watch) -> None:
    sleeps(1)
    page = visitor.page()
    page.goto(site.url)
    assert "/login/" in page.url
    assert page.locator("#stream").count() == 0
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill(PASSWORD + "!")
    page.get_by_role("button", name="Log in").click()
    page.locator("#login-error").wait_for()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Overview").wait_for()
    assert watch.hosts == {urlsplit(site.url).netloc}


def test_a_page_whose_session_ended_says_so(visitor: Visitor, watch: Watch, site: Site) -> None:
    from django.contrib.sessions.models import Session

    page = visitor.logged_in()
    wait_until_live(page)
    watch.tolerant = True
    # Read now and then; should it be just now, the page would go to the login by itself.
    page.route("**/nav/counts/", lambda route: route.abort())
    Session.objects.all().delete()
    site.web.kill()
    site.start_web()
    page.locator("#connection[data-state='ended']").wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Run 10 tasks").click()
    page.get_by_role("heading", name="Log in").wait_for()
    assert not Task.objects.exists()
