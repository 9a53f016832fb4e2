"""The bell hears of what happens, stays open while it is read, and is emptied; with and without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import transaction

from tests.browser.conftest import Visitor
from zenith_site.common.live_updates import refresh_pages
from zenith_site.notify.decisions import Alert, Evaluation
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.rules import rules
from zenith_site.notify.watch import report

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def happen(*names: str) -> None:
    """Have workers vanish, as an engine would tell it."""
    rule = next(rule for rule in rules() if rule.kind == NotificationKind.WORKER_GONE)
    with transaction.atomic():
        report(rule, Evaluation([Alert(name, f"{name} is gone", "It vanished.", "/workers/") for name in names]))
    refresh_pages("notifications")


def bell(page: Page, unread: int) -> None:
    """Wait until the bell says so."""
    name = f"Notifications, {unread} unread" if unread else "Notifications"
    page.get_by_role("button", name=name, exact=True).wait_for()


def test_the_bell_of_an_open_page_hears_of_it_and_its_panel_stays_open(visitor: Visitor) -> None:
    page = visitor.logged_in("queues/")
    bell(page, 0)
    happen("w1")
    bell(page, 1)
    page.locator("#bell-button").click()
    panel = page.locator("#notices")
    panel.get_by_role("link", name="w1 is gone").wait_for()
    happen("w2")
    panel.get_by_role("link", name="w2 is gone").wait_for()
    assert panel.is_visible()
    panel.get_by_role("button", name="Mark all read").click()
    panel.get_by_text("No unread notification.").wait_for()
    bell(page, 0)
    assert page.evaluate("window.violations") == []


def test_one_some_and_all_are_marked_on_the_page_itself(visitor: Visitor) -> None:
    page = visitor.logged_in()
    happen("w1", "w2", "w3", "w4")
    # The keys are heard once the page's scripts run.
    page.locator("#connection[data-state='live']").wait_for()
    page.keyboard.press("g")
    page.keyboard.press("b")
    page.wait_for_url("**/notifications/")
    page.get_by_role("button", name="Mark read: w1 is gone").click()
    bell(page, 3)
    for name in ("w2", "w3"):
        page.get_by_role("checkbox", name=f"Select {name} is gone").check()
    page.get_by_text("2 selected").wait_for()
    page.get_by_role("button", name="Mark read", exact=True).click()
    bell(page, 1)
    page.get_by_role("link", name="Unread").click()
    page.wait_for_url("**/notifications/?unread=1")
    page.get_by_role("checkbox", name="Select w1 is gone").wait_for(state="detached")
    page.locator("#read-all").click()
    page.get_by_text("No unread notifications").wait_for()
    assert page.evaluate("window.violations") == []


def test_without_scripts_the_same_forms_do_it(visitor: Visitor) -> None:
    happen("w1", "w2", "w3")
    page = visitor.logged_in("notifications/", scripts=False)
    page.get_by_role("button", name="Mark read: w1 is gone").click()
    bell(page, 2)
    page.get_by_role("checkbox", name="Select w2 is gone").check()
    page.get_by_role("button", name="Mark read", exact=True).click()
    bell(page, 1)
    page.locator("#bell-button").click()
    page.locator("#notices").get_by_role("button", name="Mark all read").click()
    bell(page, 0)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_rule_is_previewed_and_made(scripts: bool, visitor: Visitor) -> None:
    page = visitor.logged_in("notifications/rules/", scripts=scripts)
    page.get_by_role("link", name="New rule").first.click()
    page.get_by_label("Name", exact=True).fill("Reports fail")
    page.get_by_label("More than", exact=True).fill("3")
    page.get_by_role("button", name="Preview", exact=True).click()
    page.get_by_text("Would not have fired in the last 24 hours.").wait_for()
    assert page.get_by_label("Name", exact=True).input_value() == "Reports fail"
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/notifications/rules/")
    page.get_by_role("link", name="Reports fail").wait_for()
    page.get_by_text("More than 3 tasks failed for good within 5 m").wait_for()
