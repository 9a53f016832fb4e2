"""A real Chromium on a real Zenith: web process, worker and engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests import stack as stacks
from tests.processes import Process, free_port
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

PASSWORD = "a long enough one"
#: Milliseconds, as Playwright counts.
PATIENCE = 20_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

module_database = stacks.module_database


@dataclass
class Site:
    """A Zenith that runs, and its web process, which a test may end and start again."""

    stack: Stack
    port: int
    web: Process

    @property
    def url(self) -> str:
        """The address of the Overview."""
        return f"http://127.0.0.1:{self.port}/"

    def start_web(self) -> None:
        """Start the web process again on the same port."""
        self.web = self.stack.web(self.port)


@pytest.fixture(scope="module")
def module_site(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    for stack in stacks.running(tmp_path_factory.mktemp("browser"), ZENITH_RATE_LIMIT="1000/60s"):
        port = free_port()
        stack.engine()
        stack.worker("browser@tests", concurrency=2)
        yield Site(stack, port, stack.web(port))


@pytest.fixture(scope="module")
def chromium(browser_path: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop in this very thread, in which Django then sees itself; nothing here is asynchronous.
        patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Watch:
    """What went wrong in a page, and whom it talked to."""

    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    #: While the web process is away on purpose, the console says so.
    tolerant: bool = False

    def on_console(self, message: ConsoleMessage) -> None:
        """Keep what the console says in red."""
        if message.type in {"error", "warning"} and not self.tolerant:
            self.errors.append(f"console: {message.text}")

    def on_request(self, request: Request) -> None:
        """Keep the host that a request goes to."""
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"}:
            self.hosts.add(parts.netloc)

    def attach(self, page: Page) -> None:
        """Watch one page."""
        page.on("console", self.on_console)
        page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        page.on("request", self.on_request)
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))


@pytest.fixture
def site(transactional_db: None, chromium: Browser, module_site: Site) -> Iterator[Site]:
    """The site of this module, at rest again after the test."""
    for _ in stacks.settling(module_site.stack):
        yield module_site
        if not module_site.web.runs:
            module_site.start_web()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test for what went wrong in its pages."""
    watch = Watch()
    yield watch
    assert not watch.errors


class Visitor:
    """Someone with a browser of their own; what they see last is kept as a picture for a failed test."""

    def __init__(self, browser: Browser, site: Site, watch: Watch, directory: Path) -> None:
        self._browser = browser
        self._site = site
        self._watch = watch
        self._directory = directory
        self.contexts: list[BrowserContext] = []

    def page(self, *, width: int = 1280, height: int = 900, scripts: bool = True) -> Page:
        """Open an empty page in a browser without history."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=scripts, locale="en-GB"
        )
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        self._watch.attach(page)
        if scripts:
            page.add_init_script(
                "window.violations = [];"
                "document.addEventListener('securitypolicyviolation',"
                " (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));"
            )
        return page

    def logged_in(self, **options: int | bool) -> Page:
        """Log in through the form and wait for the Overview."""
        page = self.page(**options)  # type: ignore[arg-type]
        page.goto(self._site.url)
        page.get_by_label("Username").fill("root")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="Overview").wait_for()
        return page

    def leave(self) -> None:
        """Close all pages; keep a picture of each in the test's temporary directory."""
        for number, context in enumerate(self.contexts):
            for page in context.pages:
                page.screenshot(path=self._directory / f"page-{number}.png")
            context.close()


@pytest.fixture
def visitor(chromium: Browser, site: Site, watch: Watch, tmp_path: Path) -> Iterator[Visitor]:
    from django.contrib.auth.models import User

    User.objects.create_superuser("root", password=PASSWORD)
    visitor = Visitor(chromium, site, watch, tmp_path)
    yield visitor
    visitor.leave()
