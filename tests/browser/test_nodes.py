"""The Nodes pages in a browser: deploy, act on a selection, and follow a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra_app import log_stream, nodes
from infra_app.log_stream import Line
from infra_app.models import Node, NodeGroup
from infra_app.states import Desired
from infra_app.validation import Deployment
from tests.browser.conftest import Site, Visitor, Watch
from tests.hosts import host, observed
from tests.waiting import eventually
from zenith_site.common import live_updates

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def node(site: Site) -> Node:
    """Create a ready node; no agent runs behind it."""
    host("zen-01", seen_at="2099-01-01T00:00:00Z")
    group = nodes.deploy(Deployment(name="reports", queues=("nobody-else",)), "ada")
    return observed(group.nodes.get())


def say(node: Node, *texts: str) -> None:
    log_stream.append(node.id, [Line("2026-01-01T10:00:00Z", "stdout", text) for text in texts])
    live_updates.refresh_pages(log_stream.topic(node.id))


def shown(page: Page) -> int:
    return page.locator("#log-lines li:not([hidden])").count()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_nodes_are_deployed_and_a_selection_is_drained_after_a_question(
    visitor: Visitor, site: Site, node: Node, scripts: bool
) -> None:
    page = visitor.logged_in("nodes/", scripts=scripts)
    page.get_by_role("link", name="Deploy").click()
    page.get_by_label("Name", exact=True).fill("mail")
    page.get_by_label("Nodes", exact=True).fill("2")
    page.get_by_role("button", name="Deploy").click()
    page.get_by_role("link", name="mail-2").wait_for()
    assert NodeGroup.objects.get(name="mail").replicas == 2
    for name in ("mail", "mail-2"):
        page.get_by_label(f"Select {name}", exact=True).check()
    page.get_by_role("button", name="Drain", exact=True).click()
    page.get_by_role("button", name="Drain 2 nodes").click()
    page.get_by_text("Drain requested for 2 nodes.").wait_for()
    assert Node.objects.filter(desired=Desired.DRAINED).count() == 2


def test_what_cannot_be_deployed_is_said_beside_its_field(visitor: Visitor, site: Site, node: Node, watch: Watch) -> None:
    watch.tolerant = True  # of the 422 that is meant
    page = visitor.logged_in("nodes/deploy/", scripts=False)
    page.get_by_label("Image").fill("alpine")
    page.get_by_role("button", name="Deploy").click()
    page.get_by_text("is not allowed; ZENITH_ALLOWED_IMAGES allows: zenith:latest").wait_for()


def test_a_log_grows_is_searched_and_paused(visitor: Visitor, site: Site, node: Node) -> None:
    page = visitor.logged_in(f"nodes/{node.id}/")
    page.get_by_text("Nothing yet.").wait_for()
    eventually(lambda: log_stream.watched([node.id]))
    say(node, "[INFO] apple", "[ERROR] banana")
    page.locator("#log-lines .log-error").wait_for()
    page.get_by_label("Search the log").fill("BAN")
    page.get_by_text("1 of 2 lines").wait_for()
    say(node, "[INFO] cherry", "more bananas")
    eventually(lambda: shown(page) == 2)
    page.get_by_label("Search the log").fill("")
    eventually(lambda: shown(page) == 4)
    page.get_by_role("button", name="Pause").click()
    say(node, "while paused")
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("while paused").wait_for()
    assert shown(page) == 5


def test_of_a_long_log_the_newest_ten_thousand_lines_stay_and_only_those_in_sight_are_drawn(
    visitor: Visitor, site: Site, node: Node
) -> None:
    page = visitor.logged_in(f"nodes/{node.id}/log/")
    say(node, "the first")
    page.get_by_text("the first", exact=True).wait_for()
    for start in range(0, 12_000, 4000):
        say(node, *(f"line {number}" for number in range(start, start + 4000)))
        page.get_by_text(f"line {start + 3999}", exact=True).wait_for()
    lines = page.locator("#log-lines li").count()
    assert 9_900 <= lines <= 10_000
    # Blocks outside the viewport are not laid out, whatever happens to their lines.
    assert page.locator(".log-block").first.evaluate("block => getComputedStyle(block).contentVisibility") == "auto"
    page.get_by_label("Search the log").fill("line 1199")
    page.get_by_text(f"10 of {lines:,} lines").wait_for()
