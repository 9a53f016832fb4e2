"""Who sends too much is told when to go on, and may then go on without reloading."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from limits import RateLimitItemPerSecond

from tasks_app.models import Task
from tests.browser.conftest import Visitor, Watch
from zenith_site.common import limits
from zenith_site.common.limits import Policy
from zenith_site.env import Rate

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

#: Of the site that these tests visit; see conftest.py.
LIMIT = Rate(1000, 60)


def use_up(user: User, monkeypatch: pytest.MonkeyPatch, *, ago: float) -> None:
    """Let somebody have sent all that they may, so many seconds ago."""
    then = time.time() - ago
    everything = RateLimitItemPerSecond(LIMIT.count, LIMIT.seconds, namespace=Policy.TRIGGERS.value)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: then)
        assert limits._limiter().hit(everything, f"user:{user.pk}", cost=LIMIT.count)


def run(page: Page) -> None:
    page.get_by_role("button", name="Run 10 tasks").click()


def root() -> User:
    from django.contrib.auth.models import User

    return User.objects.get(username="root")


def test_the_seconds_are_counted_down_and_then_the_button_works_again(
    visitor: Visitor, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visitor.logged_in()
    watch.tolerant = True  # Chromium's console has every 429 in red
    use_up(root(), monkeypatch, ago=40)
    run(page)
    left = page.locator("#toasts [data-countdown]")
    left.wait_for()
    first = int(left.inner_text())
    assert 0 < first <= 20
    assert page.get_by_text("Nothing was dispatched. Try again in").is_visible()
    waiting = page.locator("button[data-cools-down][aria-disabled='true']")
    assert waiting.inner_text().startswith("Again in ")
    page.wait_for_function("(first) => Number(document.querySelector('#toasts [data-countdown]').textContent) < first", arg=first)
    left.wait_for(state="detached")
    waiting.wait_for(state="detached")
    assert not Task.objects.exists()
    run(page)
    page.get_by_text("10 tasks dispatched.").wait_for()
    assert page.evaluate("window.violations") == []


def test_without_scripts_it_is_a_sentence(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    page = visitor.logged_in(scripts=False)
    use_up(root(), monkeypatch, ago=0)
    run(page)
    page.get_by_text("Nothing was dispatched. Try again in").wait_for()
    assert not Task.objects.exists()
