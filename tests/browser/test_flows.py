"""What people do on the pages, from the first click to the outcome, with and without scripts, on a real worker and engine."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from tasks_app.models import DeadLetter, Task
from tests.browser.axe import grave_violations
from tests.browser.conftest import Site, Visitor, Watch
from tests.waiting import eventually
from zenith_worker.wire import task_logs
from zenith_worker.wire.events import Event
from zenith_worker.wire.ids import new_id
from zenith_worker.wire.states import Status
from zenith_worker.wire.task_logs import LogChunk, LogLine

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def dispatch(**asked: object) -> None:
    from tasks_app.dispatch.create import Dispatch, Origin
    from tasks_app.dispatch.create import dispatch as send

    send(Dispatch(**asked), Origin(source="api"))  # type: ignore[arg-type]


with_and_without_scripts = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])


@with_and_without_scripts
def test_a_task_is_sent_from_its_form_and_watched_to_its_end(visitor: Visitor, site: Site, scripts: bool) -> None:
    page = visitor.logged_in("dispatch/", scripts=scripts)
    page.get_by_role("link", name="analyze_text").click()
    page.get_by_label("data", exact=True).fill("Three words here.")
    page.get_by_role("button", name="Dispatch").click()
    page.wait_for_url(re.compile("/tasks/[0-9a-f-]{36}/"))
    if not scripts:
        eventually(lambda: Task.objects.get().status == Status.SUCCESS)
        page.reload()
    page.get_by_text('"word_count": 3').wait_for()


@with_and_without_scripts
def test_selected_tasks_are_cancelled_after_a_question(visitor: Visitor, site: Site, scripts: bool) -> None:
    dispatch(task="analyze_text", data=["a", "b", "c"], queue="nobody-serves-this")
    page = visitor.logged_in("tasks/?q=queue:nobody-serves-this", scripts=scripts)
    for box in page.locator("[data-row-box]").all()[:2]:
        box.check()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel 2 tasks").click()
    page.get_by_text("2 cancelled.").wait_for()
    eventually(lambda: Task.objects.filter(status=Status.REVOKED).count() == 2)
    Task.objects.filter(status=Status.QUEUED).update(status=Status.REVOKED, finished_at="2030-01-01T00:00:00Z")


@with_and_without_scripts
def test_a_dead_letter_is_found_by_its_group_and_replayed_with_changed_arguments(
    visitor: Visitor, site: Site, watch: Watch, scripts: bool
) -> None:
    watch.tolerant = True  # of the 422 that is meant
    dispatch(task="drill_fail", kwargs={"times": -1, "message": "no such account"}, max_retries=0)
    eventually(DeadLetter.objects.exists, within=30)
    page = visitor.logged_in("dead-letters/", scripts=scripts)
    page.locator("[data-row] a[data-open]").click()
    page.get_by_text("All 1 open").click()
    page.get_by_role("link", name="Replay 1").click()
    field = page.get_by_label("Change arguments")
    field.fill('{"times": "never"}')
    page.get_by_role("button", name="Replay 1 dead letter").click()
    page.locator(".field-error").wait_for()
    field.fill('{"times": 0}')
    page.get_by_role("button", name="Replay 1 dead letter").click()
    page.get_by_text("1 replayed as new tasks.").wait_for()
    eventually(lambda: Task.objects.filter(replay_of__isnull=False, status=Status.SUCCESS).exists(), within=20)


@with_and_without_scripts
def test_several_groups_of_dead_letters_are_discarded_at_once(visitor: Visitor, site: Site, scripts: bool) -> None:
    for message in ("no such account", "the bank is closed", "the account is frozen"):
        dispatch(task="drill_fail", kwargs={"times": -1, "message": message}, max_retries=0)
    eventually(lambda: DeadLetter.objects.count() == 3, within=30)
    page = visitor.logged_in("dead-letters/", scripts=scripts)
    for box in page.locator("[data-row-box]").all()[:2]:
        box.check()
    page.locator("#selection").get_by_role("button", name="Discard").click()
    page.get_by_text("2 dead letters of 2 groups are discarded.").wait_for()
    page.get_by_role("button", name="Discard 2 dead letters").click()
    page.get_by_text("2 discarded.").wait_for()
    assert DeadLetter.objects.filter(state="OPEN").count() == 1


@with_and_without_scripts
def test_a_search_can_be_shared_by_its_address(visitor: Visitor, site: Site, scripts: bool) -> None:
    dispatch(task="analyze_text", data=["a"])
    page = visitor.logged_in("tasks/", scripts=scripts)
    page.locator("#q").fill("name:nothing*")
    page.locator("#q").press("Enter")
    page.get_by_text("Nothing matches the filter").wait_for()
    other = visitor.page(scripts=scripts)
    other.context.add_cookies(page.context.cookies())
    other.goto(page.url)
    other.get_by_text("Nothing matches the filter").wait_for()
    assert other.locator("#q").input_value() == "name:nothing*"


@with_and_without_scripts
def test_a_column_sorts_the_list_and_stays_in_the_address(visitor: Visitor, site: Site, scripts: bool) -> None:
    dispatch(task="drill_sleep", kwargs={"seconds": 0.0}, queue="nobody-serves-this")
    dispatch(task="analyze_text", data=["a"], queue="nobody-serves-this")
    page = visitor.logged_in("tasks/", scripts=scripts)
    page.get_by_role("link", name="Task", exact=True).click()
    page.wait_for_url(re.compile("sort=-name"))
    page.locator("th[aria-sort='descending']").wait_for()
    assert page.locator("[data-row] a[data-open]").first.inner_text() == "drill_sleep"
    Task.objects.filter(status=Status.QUEUED).update(status=Status.REVOKED, finished_at="2030-01-01T00:00:00Z")


def test_tasks_are_peeked_at_one_after_the_other_without_leaving_the_list(visitor: Visitor, site: Site) -> None:
    dispatch(task="analyze_text", data=["first", "second"], queue="nobody-serves-this")
    page = visitor.logged_in("tasks/?q=queue:nobody-serves-this")
    rows = page.locator("#list [data-row]")
    page.keyboard.press("j")
    page.keyboard.press("Space")
    panel = page.locator("#peek[open]")
    shown = [rows.nth(number).locator(".task-sub").get_attribute("title") or "" for number in (0, 1)]
    panel.get_by_text(shown[0]).wait_for()
    assert grave_violations(page) == []
    page.keyboard.press("j")
    panel.get_by_text(shown[1]).wait_for()
    page.keyboard.press("Escape")
    panel.wait_for(state="detached")
    assert rows.nth(1).evaluate("row => row === document.activeElement")
    rows.nth(0).get_by_role("link", name="Peek").click()
    panel.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Cancel 1 task").click()
    panel.locator(".st.st-revoked").wait_for()
    panel.get_by_role("link", name="Open the task").click()
    page.wait_for_url(re.compile("/tasks/[0-9a-f-]{36}/"))
    Task.objects.filter(status=Status.QUEUED).update(status=Status.REVOKED, finished_at="2030-01-01T00:00:00Z")


def test_without_scripts_a_peek_leads_to_the_task(visitor: Visitor, site: Site) -> None:
    dispatch(task="analyze_text", data=["a"], queue="nobody-serves-this")
    page = visitor.logged_in("tasks/?q=queue:nobody-serves-this", scripts=False)
    page.get_by_role("link", name="Peek").click()
    page.wait_for_url(re.compile("/tasks/[0-9a-f-]{36}/"))
    Task.objects.filter(status=Status.QUEUED).update(status=Status.REVOKED, finished_at="2030-01-01T00:00:00Z")


@with_and_without_scripts
def test_a_view_is_saved_and_found_beside_the_tabs(visitor: Visitor, site: Site, scripts: bool) -> None:
    page = visitor.logged_in("tasks/?q=status:FAILURE&columns=arguments,runtime", scripts=scripts)
    page.locator("#views summary").click()
    page.get_by_role("link", name="Save this view").click()
    page.get_by_label("Name").fill("Failures")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("navigation", name="Saved views").get_by_role("link", name="Failures").wait_for()
    page.goto(f"{site.url}tasks/")
    page.get_by_role("navigation", name="Saved views").get_by_role("link", name="Failures").click()
    page.wait_for_url(re.compile("columns=arguments%2Cruntime"))


def test_the_last_word_of_a_search_is_completed(visitor: Visitor, site: Site) -> None:
    page = visitor.logged_in("tasks/")
    page.locator("#q").press_sequentially("status:FAILURE na")
    assert page.locator("#search-keys option[value='status:FAILURE name:analyze_text']").count() == 1


@with_and_without_scripts
def test_a_scheduled_task_is_moved_and_then_sent_at_once(visitor: Visitor, site: Site, scripts: bool) -> None:
    dispatch(task="analyze_text", data=["Later."], not_before=datetime.now(UTC) + timedelta(days=1))
    task = Task.objects.get()
    page = visitor.logged_in(f"tasks/{task.id}/", scripts=scripts)
    page.locator("#task-more summary").click()
    page.get_by_role("link", name="Change", exact=True).click()
    page.get_by_label("Not before").fill("2040-01-01T08:00:00")
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_text("Task changed.", exact=True).wait_for()
    assert Task.objects.get().not_before == datetime(2040, 1, 1, 8, tzinfo=UTC)
    page.goto(f"{site.url}tasks/{task.id}/")
    page.get_by_role("link", name="Send now").click()
    page.get_by_role("button", name="Send now").click()
    page.get_by_text("The task is due now.").wait_for()
    eventually(lambda: Task.objects.get().status == Status.SUCCESS, within=20)


@with_and_without_scripts
def test_a_list_is_right_again_after_the_web_process_restarted(visitor: Visitor, site: Site, watch: Watch, scripts: bool) -> None:
    page = visitor.logged_in("tasks/?q=name:drill_sleep", scripts=scripts)
    if scripts:
        page.get_by_text("Live", exact=True).wait_for()
    watch.tolerant = True
    site.web.kill()
    dispatch(task="drill_sleep", kwargs={"seconds": 0.0})
    eventually(lambda: Task.objects.get().status == Status.SUCCESS, within=20)
    site.start_web()
    if not scripts:
        page.reload()
    page.locator("[data-row]", has_text="Success").wait_for()


def test_new_tasks_arrive_only_where_they_match(visitor: Visitor, site: Site, watch: Watch) -> None:
    page = visitor.logged_in("tasks/?q=name:drill_sleep")
    page.get_by_text("Live", exact=True).wait_for()
    dispatch(task="analyze_text", data=["not this one"])
    dispatch(task="drill_sleep", kwargs={"seconds": 0.0})
    page.locator("[data-row]").first.wait_for()
    assert page.locator("[data-row]").count() == 1


def test_the_log_of_a_task_is_followed_filtered_and_paused(visitor: Visitor, site: Site) -> None:
    dispatch(task="analyze_text", data=["a"], queue="nobody-serves-this")
    task = Task.objects.get()
    page = visitor.logged_in(f"tasks/{task.id}/")
    page.get_by_text("What the task logs appears here once it runs.").wait_for()
    log(task, "apple", "banana", level=20)
    page.get_by_text("apple").wait_for()
    log(task, "cherry", level=40, first=2)
    page.locator("#log-lines .log-error").wait_for()
    shown = page.locator("#log-lines li")
    assert shown.count() == 3
    page.get_by_label("Search the log").fill("BAN")
    eventually(lambda: shown.count() == 1)
    log(task, "cherries", "more bananas", level=20, first=3)
    eventually(lambda: shown.count() == 2)
    page.get_by_label("Search the log").fill("")
    page.get_by_label("Lowest level").select_option("error")
    eventually(lambda: shown.all_inner_texts() and "cherry" in shown.all_inner_texts()[0] and shown.count() == 1)
    page.get_by_label("Lowest level").select_option("")
    eventually(lambda: shown.count() == 5)
    page.get_by_role("button", name="Pause").click()
    log(task, "while paused", level=20, first=5)
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("while paused").wait_for()
    assert shown.count() == 6


def log(task: Task, *messages: str, level: int, first: int = 0) -> None:
    """Log lines as the task's worker does."""
    lines = [LogLine(time.time(), level, "shop", message) for message in messages]
    task_logs.append([LogChunk(task_id=task.celery_id, lines=lines, first=first)])


@with_and_without_scripts
def test_a_queue_is_paused_and_resumed(visitor: Visitor, site: Site, scripts: bool) -> None:
    page = visitor.logged_in("queues/", scripts=scripts)
    page.get_by_role("link", name=re.compile("^Pause")).first.click()
    page.get_by_label("Note").fill("A look at it.")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("default is paused.").wait_for()
    page.goto(f"{site.url}queues/")
    page.get_by_role("button", name=re.compile("^Resume")).click()
    page.get_by_text("default is resumed.").wait_for()


def test_how_far_a_task_is_moves_before_ones_eyes(visitor: Visitor, site: Site) -> None:
    from tasks_app.recording.apply import apply

    task_id = str(new_id())
    common = {"task_id": task_id, "name": "shop.export", "queue": "default", "worker": "w1"}

    def tell(current: int) -> None:
        apply([Event(status=Status.STARTED, at=time.time(), progress={"current": current, "total": 200}, **common)])

    tell(20)
    page = visitor.logged_in(f"tasks/{task_id}/")
    bar = page.get_by_role("progressbar", name="Progress of the task")
    assert bar.get_attribute("value") == "10.0"
    tell(180)
    page.get_by_text("180 of 200").wait_for()
    assert bar.get_attribute("value") == "90.0"
    apply([Event(status=Status.SUCCESS, at=time.time(), result="1", **common)])
    page.get_by_text("What the task told last before it ended.").wait_for()
