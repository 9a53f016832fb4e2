"""Every page, in both themes and three widths: nothing in the console, no foreign host, no sideways scroll, accessible.

The same visit takes the pictures: test-results/screenshots/, or where ZENITH_SCREENSHOTS says.
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
from tests.browser.conftest import PATIENCE, Site, Watch
from tests.browser.registry import PAGES, PageCase
from tests.browser.sample import Sample, filled
from tests.processes import REPOSITORY, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# The data stays for the module: no test writes, and the web process reads what the fixture committed.
pytestmark = [pytest.mark.browser, pytest.mark.django_db]

#: Width and height in pixels, and the width of the picture taken there.
SIZES = {360: (740, 390), 768: (1024, 768), 1440: (1000, 1440)}
THEMES = ("dark", "light")

each_page = pytest.mark.parametrize("case", PAGES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def sample(module_database: None) -> Iterator[Sample]:
    """The data, which stays for the whole module and is removed with it."""
    yield from filled()


@pytest.fixture(scope="module")
def sample_site(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A web process with the gallery, and nothing behind it that would change what it shows."""
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


class Contexts:
    """One browser context for each theme, size and kind, opened when first asked for."""

    def __init__(self, browser: Browser, site: Site, session: str) -> None:
        self._browser, self._site, self._session = browser, site, session
        self._open: dict[tuple[str, int, bool], BrowserContext] = {}

    def get(self, theme: str, width: int, *, scripts: bool = True) -> BrowserContext:
        """Return the context, logged in."""
        key = (theme, width, scripts)
        if key not in self._open:
            self._open[key] = self._make(theme, width, scripts)
        return self._open[key]

    def close(self) -> None:
        """Close all of them."""
        for context in self._open.values():
            context.close()

    def _make(self, theme: str, width: int, scripts: bool) -> BrowserContext:
        context = self._browser.new_context(
            viewport={"width": width, "height": SIZES[width][0]}, color_scheme=theme,  # type: ignore[arg-type]
            java_script_enabled=scripts, locale="en-GB", reduced_motion="reduce",
        )  # fmt: skip
        context.set_default_timeout(PATIENCE)
        context.add_cookies([{"name": "sessionid", "value": self._session, "url": self._site.url}])
        if scripts:
            context.add_init_script(
                "window.violations = [];"
                "document.addEventListener('securitypolicyviolation',"
                " (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));"
            )
        return context


@pytest.fixture(scope="module")
def contexts(chromium: Browser, sample_site: Site, session: str) -> Iterator[Contexts]:
    contexts = Contexts(chromium, sample_site, session)
    yield contexts
    contexts.close()


@pytest.fixture(scope="module")
def pictures() -> Path:
    """Where the pictures go."""
    folder = Path(os.environ.get("ZENITH_SCREENSHOTS", REPOSITORY / "test-results" / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def visit(context: BrowserContext, site: Site, case: PageCase, sample: Sample, watch: Watch) -> Page:
    """Open a page and let it come to rest."""
    page = context.new_page()
    watch.attach(page)
    # Chromium says a page's own 404 and 500 in red.
    watch.tolerant = case.status >= 400
    response = page.goto(site.url.rstrip("/") + case.path(sample), wait_until="load")
    assert response is not None
    assert response.status == case.status
    return page


@each_page
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", SIZES)
def test_a_page_is_in_order(
    case: PageCase, theme: str, width: int, contexts: Contexts, sample_site: Site, sample: Sample, watch: Watch, pictures: Path
) -> None:
    page = visit(contexts.get(theme, width), sample_site, case, sample, watch)
    if case.framed:
        page.locator("#connection[data-state='live']").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.violations") == []
    assert watch.hosts == {urlsplit(sample_site.url).netloc}
    assert grave_violations(page) == []
    if width != 768:
        page.set_viewport_size({"width": SIZES[width][1], "height": SIZES[width][0]})
        page.screenshot(path=pictures / f"{case.name}-{theme}-{SIZES[width][1]}.png", full_page=True)
    page.close()


@each_page
def test_a_page_works_without_scripts(
    case: PageCase, contexts: Contexts, sample_site: Site, sample: Sample, watch: Watch
) -> None:
    page = visit(contexts.get("dark", 1440, scripts=False), sample_site, case, sample, watch)
    assert page.locator("h1").count() == 1
    # What only script can serve is not drawn.
    assert page.locator(".needs-script:visible").count() == 0
    page.close()
