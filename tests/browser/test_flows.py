"""What people do on the pages, from the first click to the outcome, with and without scripts, on a real worker and engine."""

from __future__ import annotations

import re

import pytest

from tasks_app.models import DeadLetter, Task
from tasks_app.states import Status
from tests.browser.conftest import Site, Visitor, Watch
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def dispatch(**asked: object) -> None:
    from tasks_app.dispatch.create import Dispatch, Origin
    from tasks_app.dispatch.create import dispatch as send

    send(Dispatch(**asked), Origin(source="api"))  # type: ignore[arg-type]


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_a_task_is_sent_from_its_form_and_watched_to_its_end(visitor: Visitor, site: Site, scripts: bool) -> None:
    page = visitor.logged_in(scripts=scripts)
    page.goto(f"{site.url}dispatch/")
    page.get_by_role("link", name="analyze_text").click()
    page.get_by_label("data", exact=True).fill("Three words here.")
    page.get_by_role("button", name="Send").click()
    page.wait_for_url(re.compile("/tasks/[0-9a-f-]{36}/"))
    if not scripts:
        eventually(lambda: Task.objects.get().status == Status.SUCCESS)
        page.reload()
    page.get_by_text('"word_count": 3').wait_for()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_selected_tasks_are_cancelled_after_a_question(visitor: Visitor, site: Site, scripts: bool) -> None:
    dispatch(task="analyze_text", data=["a", "b", "c"], queue="nobody-serves-this")
    page = visitor.logged_in(scripts=scripts)
    page.goto(f"{site.url}tasks/?q=queue:nobody-serves-this")
    for box in page.locator("[data-row-box]").all()[:2]:
        box.check()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel 2 tasks").click()
    page.get_by_text("2 cancelled.").wait_for()
    eventually(lambda: Task.objects.filter(status=Status.REVOKED).count() == 2)
    Task.objects.filter(status=Status.QUEUED).update(status=Status.REVOKED, finished_at="2030-01-01T00:00:00Z")


def test_a_dead_letter_is_found_by_its_group_and_replayed_with_changed_arguments(
    visitor: Visitor, site: Site, watch: Watch
) -> None:
    watch.tolerant = True  # of the 422 that is meant
    dispatch(task="drill_fail", kwargs={"times": -1, "message": "no such account"}, max_retries=0)
    eventually(DeadLetter.objects.exists, within=30)
    page = visitor.logged_in()
    page.goto(f"{site.url}dead-letters/")
    page.locator("[data-row] a[data-open]").click()
    page.get_by_role("link", name="Replay 1").click()
    field = page.get_by_label("Change arguments")
    field.fill('{"times": "never"}')
    page.get_by_role("button", name="Replay 1 dead letter").click()
    page.locator(".field-error").wait_for()
    field.fill('{"times": 0}')
    page.get_by_role("button", name="Replay 1 dead letter").click()
    page.get_by_text("1 replayed as new tasks.").wait_for()
    eventually(lambda: Task.objects.filter(replay_of__isnull=False, status=Status.SUCCESS).exists(), within=20)


def test_a_search_can_be_shared_by_its_address(visitor: Visitor, site: Site) -> None:
    dispatch(task="analyze_text", data=["a"])
    page = visitor.logged_in()
    page.goto(f"{site.url}tasks/")
    page.locator("#q").fill("name:nothing*")
    page.locator("#q").press("Enter")
    page.get_by_text("Nothing matches the filter").wait_for()
    other = visitor.page()
    other.context.add_cookies(page.context.cookies())
    other.goto(page.url)
    other.get_by_text("Nothing matches the filter").wait_for()


def test_new_tasks_arrive_only_where_they_match(visitor: Visitor, site: Site, watch: Watch) -> None:
    page = visitor.logged_in()
    page.goto(f"{site.url}tasks/?q=name:drill_sleep")
    page.get_by_text("Live", exact=True).wait_for()
    dispatch(task="analyze_text", data=["not this one"])
    dispatch(task="drill_sleep", kwargs={"seconds": 0.0})
    page.locator("[data-row]").first.wait_for()
    assert page.locator("[data-row]").count() == 1


def test_a_queue_is_paused_and_resumed(visitor: Visitor, site: Site) -> None:
    page = visitor.logged_in()
    page.goto(f"{site.url}queues/")
    page.get_by_role("link", name=re.compile("^Pause")).first.click()
    page.get_by_label("Note").fill("A look at it.")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("default is paused.").wait_for()
    page.goto(f"{site.url}queues/")
    page.get_by_role("button", name=re.compile("^Resume")).click()
    page.get_by_text("default goes on.").wait_for()
