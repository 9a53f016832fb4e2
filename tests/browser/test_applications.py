"""The choice of an application in the sidebar, with and without script; and the pages that show one or several."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from tasks_app.models import Application
from tasks_app.models.application import NATIVE_ID, Kind
from tasks_app.recording.apply import apply
from tasks_app.watching import engine_key
from tests.browser.axe import grave_violations
from tests.browser.conftest import Site, Visitor, Watch
from tests.browser.sample import TRACEBACK
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.applications import announce
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status
from zenith_worker.wire.worker_settings import Schedule, WorkerSettings

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ENDED = [*[Status.SUCCESS] * 30, *[Status.FAILURE] * 4]
OPEN = [Status.QUEUED, Status.QUEUED, Status.RECEIVED, Status.STARTED, Status.RETRY]
#: A phone in the light and a screen in the dark; pictures are of all four.
SIZES = [(390, "light"), (1440, "dark"), *([(390, "dark"), (1440, "light")] if "ZENITH_SCREENSHOTS" in os.environ else [])]
SETTINGS = WorkerSettings(
    broker="redis", visibility_timeout=3600.0, priority_steps=(0, 3, 6, 9), result_expires=86_400.0,
    schedules=(Schedule("close-tills", "shop.pay", 600.0), Schedule("nightly-report", "shop.report", None)),
)  # fmt: skip
PATHS = {
    "overview": "?application=shop",
    "application": "applications/shop/",
    "tasks": "tasks/?application=shop",
    "dead-letters": "dead-letters/",
    "events": "events/",
    "workers": "workers/",
    "worker": "workers/celery@till-1/?application=shop",
    "queues": "queues/?application=shop",
    "diagnosis": "applications/shop/diagnosis/",
    "list": "applications/",
    "watch": "applications/new/watch/",
    "watched": "applications/clinic/",
    "watching": "applications/clinic/watching/",
    "end-watching": "applications/clinic/end-watching/",
    "not-heard": "applications/bakery/",
}


def attach_shop() -> None:
    """Attach an application at work, as its workers and the engine would."""
    now = timezone.now()
    Application.objects.get_or_create(id=NATIVE_ID, defaults={"name": "zenith", "kind": Kind.NATIVE})
    shop = Application.objects.create(
        name="shop", kind=Kind.ATTACHED, main="shop", celery_version="5.5.3", python_version="3.12.1",
        first_heard_at=now, last_heard_at=now,
    )  # fmt: skip
    announce("shop", "shop")
    for number, status in enumerate([*ENDED, *OPEN]):
        at = time.time() - 60 * number
        seconds: dict[str, Any] = {"started_at": at - 0.4, "runtime": 0.2 + number / 100} if status in ENDED else {}
        failed = {
            "error_type": "TillError",
            "error_message": "the till is closed",
            "traceback": TRACEBACK.format(error="TillError"),
        }
        event = Event(
            task_id=f"order-{number}", application="shop", status=status, at=at, name=["shop.pay", "shop.ship"][number % 2],
            queue=["tills", "parcels"][number % 2], worker="" if status == Status.QUEUED else "celery@till-1", result="1",
            **seconds, **(failed if status in (Status.FAILURE, Status.RETRY) else {}),
        )  # fmt: skip
        apply([event], {"shop": shop.pk})
    for name, guards in (("celery@till-1", ["claims", "recovery", "retries"]), ("celery@till-2", ["claims"])):
        about = heartbeat.About(
            pool="prefork", started_at=time.time() - 7200, memory_bytes=90_000_000, processed=42, catalogue="0" * 32,
            control="on", depths=[heartbeat.Depth("parcels", 12345)], depths_age=3.0, guards=guards, prefetch=4,
            limited=[heartbeat.Waiting("shop.pay", 4, "1/m")], settings=SETTINGS, queue_commands=["pause", "purge"],
        )  # fmt: skip
        heartbeat.write(name, slots=4, busy=1, queues=["parcels", "tills"], application="shop", about=about)
        # They beat for an hour.
        stream.client().pexpire(f"zenith:app:shop:worker:{name}", 3_600_000)


def watch_others() -> None:
    """Watch one application whose broker is away and one of whose workers is attached, and one of which nothing is heard."""
    now = time.time()
    gaps = [[now - 7200, now - 7000, "no observer ran"]]
    for name in ("clinic", "bakery"):
        Application.objects.create(name=name, kind=Kind.WATCHED, broker="v2:unreadable", gaps=gaps, first_heard_at=timezone.now())
    unknown = ["slots", "queues", "held"]
    about = {"pid": 0, "slots": 0, "busy": 1, "queues": [], "held": [], "unknown": unknown, "version": "5.5.3"}
    heartbeat.write_heard([heartbeat.Heard("celery@ward-1", about, 0.0)], "clinic")
    heartbeat.write("celery@ward-2", slots=4, busy=1, queues=["wards"], application="clinic")
    for name in ("celery@ward-1", "celery@ward-2"):
        stream.client().pexpire(f"zenith:app:clinic:worker:{name}", 3_600_000)


def broker_url() -> str:
    """A database of the test's Redis that nobody else uses."""
    url = os.environ["REDIS_URL"]
    return f"{url[: -len(urlsplit(url).path)]}/13"


def pictured(page: Page, name: str) -> None:
    """Take a picture, if ZENITH_SCREENSHOTS names a folder."""
    if folder := os.environ.get("ZENITH_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"applications-{name}.png", full_page=True)


def test_one_application_is_chosen_for_all_pages(visitor: Visitor, site: Site) -> None:
    attach_shop()
    page = visitor.logged_in("tasks/")
    page.locator("#application-switch summary").click()
    pictured(page, "switch")
    page.get_by_role("button", name="shop", exact=True).click()
    page.wait_for_url("**/tasks/?application=shop")
    assert page.locator("#list-application").input_value() == "shop"
    page.locator(".nav").get_by_role("link", name="Workers").click()
    page.wait_for_url("**/workers/?application=shop")
    assert page.locator("#workers tbody tr").count() == 2
    page.locator(".nav").get_by_role("link", name="Overview").click()
    page.wait_for_url("**/?application=shop")
    page.locator("#application-switch summary").click()
    page.get_by_role("button", name="All applications").click()
    page.wait_for_url(site.url)
    assert page.locator("h1").inner_text() == "Overview"
    page.locator("#overview-application").select_option("shop")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**/?application=shop*")
    assert page.locator("h1").inner_text() == "Overview of shop"
    page.keyboard.press("Control+k")
    page.keyboard.type("only shop")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?application=shop")


def test_without_script_it_is_chosen_as_well(visitor: Visitor, site: Site) -> None:
    attach_shop()
    page = visitor.logged_in("events/", scripts=False)
    page.locator("#application-switch summary").click()
    page.get_by_role("button", name="shop", exact=True).click()
    assert page.url == f"{site.url}events/?application=shop"
    assert page.locator("#event-application").input_value() == "shop"


def test_a_queue_is_paused_and_resumed_where_it_is_listed(visitor: Visitor, site: Site) -> None:
    attach_shop()
    page = visitor.logged_in("queues/?application=shop")
    row = page.locator("#attached tbody tr", has_text="parcels")
    row.get_by_role("link", name="Pause").click()
    page.locator("dialog textarea").fill("The lorry broke down.")
    page.locator("dialog").get_by_role("button", name="Pause", exact=True).click()
    row.get_by_text("The lorry broke down.").wait_for()
    pictured(page, "paused")
    row.get_by_role("button", name="Resume").click()
    row.get_by_role("link", name="Pause").wait_for()
    row.locator(".last-actions summary").click()
    row.get_by_role("link", name="Purge").click()
    page.locator("dialog").get_by_text("12,345 messages wait in it").wait_for()


def test_pages_of_several_applications_are_in_order(visitor: Visitor, site: Site) -> None:
    attach_shop()
    watch_others()
    page = visitor.logged_in("tasks/")
    found: dict[str, object] = {}
    for name, path in PATHS.items():
        page.goto(site.url + path)
        for width, theme in SIZES:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found[f"{name} {width} {theme} scrolls"] = page.evaluate("document.documentElement.scrollWidth") > width
            found[f"{name} {width} {theme} keeps out"] = grave_violations(page, only_colours=theme == "dark")
            pictured(page, f"{name}-{theme}-{width}")
    assert {what: seen for what, seen in found.items() if seen} == {}
    assert page.evaluate("window.violations") == []


@pytest.mark.parametrize("scripts", [True, False], ids=["script", "no-script"])
def test_an_application_is_watched_and_left_again(visitor: Visitor, site: Site, watch: Watch, scripts: bool) -> None:
    watch.tolerant = True  # of the 422 that is meant
    # The engine told it when it started; the tables were emptied since.
    engine_key.tell()
    page = visitor.logged_in("applications/", scripts=scripts)
    page.get_by_role("link", name="Watch an application").click()
    page.get_by_label("Name", exact=True).fill("bakery")
    url = page.get_by_label("URL of its broker")
    url.fill("redis://127.0.0.1:1/0")
    page.get_by_role("button", name="Only test the connection").click()
    page.get_by_text("nothing listens at its host and port").wait_for()
    # Without script the page is a new one, and never has the URL.
    assert url.input_value() == ("redis://127.0.0.1:1/0" if scripts else "")
    url.fill("redis://127.0.0.1:1/0")
    page.get_by_role("button", name="Watch", exact=True).click()
    page.get_by_text("Nothing was saved.").first.wait_for()
    assert not Application.objects.filter(name="bakery").exists()
    url.fill(broker_url())
    page.get_by_role("button", name="Watch", exact=True).click()
    page.wait_for_url("**/applications/bakery/")
    page.get_by_role("link", name="Change", exact=True).click()
    page.wait_for_url("**/applications/bakery/watching/")
    assert page.get_by_label("URL of its broker").input_value() == ""
    page.get_by_label("Ask its workers to send events").uncheck()
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/applications/bakery/")
    assert not Application.objects.get(name="bakery").enables_events
    page.get_by_role("link", name="Stop watching").click()
    page.get_by_role("button", name="Stop watching bakery").click()
    page.wait_for_url("**/applications/")
    assert not Application.objects.filter(name="bakery", broker__gt="").exists()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_on_a_phone_a_task_has_its_status_once(visitor: Visitor, site: Site, theme: Any) -> None:
    attach_shop()
    page = visitor.logged_in("tasks/")
    page.emulate_media(color_scheme=theme)
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.locator("tr[data-row]").first.locator(".st").locator("visible=true").count() == 1
        pictured(page, f"list-once-{theme}-{width}")
