"""Every page, in both themes and three widths: nothing in the console, no foreign host, no sideways scroll, accessible.

Where ZENITH_SCREENSHOTS names a folder, the same visit takes the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests import stack as stacks
from tests.browser.axe import grave_violations
from tests.browser.conftest import PATIENCE, Shared, Site, Watch
from tests.browser.registry import PAGES, PageCase
from tests.browser.sample import Sample, filled
from tests.database import Emptying
from tests.processes import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# The data stays for the module: no test writes, and the web process reads what the fixture committed.
pytestmark = [pytest.mark.browser, pytest.mark.django_db]

#: Width and height in pixels, and the width of the picture taken there, 0 for none.
SIZES = {360: (740, 390), 768: (1024, 0), 1440: (1000, 1440)}
#: In the dark only colours are looked at once more.
THEMES = ("light", "dark")

each_page = pytest.mark.parametrize("case", PAGES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def sample(module_database: Emptying) -> Iterator[Sample]:
    """The data, which stays for the whole module and is removed with it."""
    yield from filled(module_database)


@pytest.fixture(scope="module")
def sample_site(module_database: Emptying, shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A web process with the gallery, and nothing behind it that would change what it shows."""
    shared.close_site()
    directory = tmp_path_factory.mktemp("pages")
    changes = {"ZENITH_RATE_LIMIT": "1000/60s", "ZENITH_NOTIFY_EMAIL": "ops@example.com"}
    for stack in stacks.running(directory, DJANGO_SETTINGS_MODULE="tests.gallery_settings", **changes):
        port = free_port()
        yield Site(stack, port, stack.web(port))


@pytest.fixture(scope="module")
def session(sample_site: Site, sample: Sample) -> str:
    """The cookie of an administrator."""
    from django.contrib.auth.models import User
    from django.test import Client
    from django.utils import timezone

    client = Client()
    # Long enough ago that the sample's notifications are news to them.
    client.force_login(User.objects.create_superuser("ada", date_joined=timezone.now() - timedelta(days=30)))
    return client.cookies["sessionid"].value


@pytest.fixture(scope="module")
def tabs(chromium: Browser, sample_site: Site, session: str) -> Iterator[dict[bool, Page]]:
    """A page of a browser with scripts and one without, both logged in. They stay open: a new one is a new process."""
    contexts = {scripts: make_context(chromium, sample_site, session, scripts=scripts) for scripts in (True, False)}
    yield {scripts: context.new_page() for scripts, context in contexts.items()}
    for context in contexts.values():
        context.close()


@pytest.fixture
def watched(tabs: dict[bool, Page], watch: Watch, sample_site: Site) -> Iterator[dict[bool, Page]]:
    """The same, as good as empty and watched. Not empty: from and to that, Chromium takes another process."""
    for page in tabs.values():
        page.goto(f"{sample_site.url}static/favicon.svg")
        watch.attach(page)
    yield tabs
    for page in tabs.values():
        watch.detach(page)


def make_context(browser: Browser, site: Site, session: str, *, scripts: bool) -> BrowserContext:
    context = browser.new_context(java_script_enabled=scripts, locale="en-GB", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    context.add_cookies([{"name": "sessionid", "value": session, "url": site.url}])
    if scripts:
        context.add_init_script(
            "window.violations = [];"
            "document.addEventListener('securitypolicyviolation',"
            " (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));"
        )
    return context


@pytest.fixture(scope="module")
def pictures() -> Path | None:
    """Where the pictures go, if anywhere."""
    named = os.environ.get("ZENITH_SCREENSHOTS")
    if not named:
        return None
    folder = Path(named)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def visit(page: Page, site: Site, case: PageCase, sample: Sample, watch: Watch) -> None:
    """Open a page on a phone in the light."""
    page.set_viewport_size({"width": 360, "height": SIZES[360][0]})
    page.emulate_media(color_scheme="light")
    # Chromium says a page's own 404 and 500 in red.
    watch.tolerant = case.status >= 400
    response = page.goto(site.url.rstrip("/") + case.path(sample), wait_until="load")
    assert response is not None
    assert response.status == case.status


def come_to_rest(page: Page) -> None:
    """Let what observes sizes and themes draw, which it does in the next frames."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))")


@each_page
def test_a_page_is_in_order(
    case: PageCase, watched: dict[bool, Page], sample_site: Site, sample: Sample, watch: Watch, pictures: Path | None
) -> None:
    """Loaded once: width and theme change while the page is open, as they do for who turns a phone or when night falls."""
    page = watched[True]
    visit(page, sample_site, case, sample, watch)
    if case.framed:
        page.locator("#connection[data-state='live']").wait_for()
    found: dict[str, object] = {}
    for width, (height, pictured) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            come_to_rest(page)
            found[f"{width} {theme} scrolls to"] = page.evaluate("document.documentElement.scrollWidth") > width
            found[f"{width} {theme} keeps out"] = grave_violations(page, only_colours=theme == "dark")
            if pictures and pictured:
                page.set_viewport_size({"width": pictured, "height": height})
                come_to_rest(page)
                page.screenshot(path=pictures / f"{case.name}-{theme}-{pictured}.png", full_page=True)
                page.set_viewport_size({"width": width, "height": height})
    assert {what: seen for what, seen in found.items() if seen} == {}
    assert page.evaluate("window.violations") == []
    assert watch.hosts == {urlsplit(sample_site.url).netloc}


@each_page
def test_a_page_works_without_scripts(
    case: PageCase, watched: dict[bool, Page], sample_site: Site, sample: Sample, watch: Watch
) -> None:
    page = watched[False]
    visit(page, sample_site, case, sample, watch)
    page.set_viewport_size({"width": 1440, "height": SIZES[1440][0]})
    assert page.locator("h1").count() == 1
    # What only script can serve is not drawn.
    assert page.locator(".needs-script:visible").count() == 0
