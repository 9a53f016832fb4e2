"""A real Chromium on a real Zenith: web process, worker and engine."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests import stack as stacks
from tests.database import Emptying
from tests.processes import Process, free_port
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Request, WebSocket

HERE = Path(__file__).parent
PASSWORD = "a long enough one"
#: Milliseconds, as Playwright counts.
PATIENCE = 60_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


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


class Shared:
    """What the files of this directory use one after the other: a browser, and a site with worker, engine and the gallery."""

    def __init__(self) -> None:
        self._site = ExitStack()
        self._browser = ExitStack()
        self.site: Site | None = None
        self.browser: Browser | None = None

    def open_site(self, directory: Callable[[], Path]) -> Site:
        """Return the site, which is started where none runs."""
        if self.site is None:
            changes = {"ZENITH_RATE_LIMIT": "1000/60s", "DJANGO_SETTINGS_MODULE": "tests.gallery_settings"}
            stack = self._site.enter_context(contextmanager(stacks.running)(directory(), **changes))
            port = free_port()
            stack.engine()
            stack.worker("browser@tests", concurrency=2)
            self.site = Site(stack, port, stack.web(port))
        return self.site

    def open_browser(self, path: str) -> Browser:
        """Return the browser, which is started where none runs."""
        if self.browser is None:
            from playwright.sync_api import sync_playwright

            patch = self._browser.enter_context(pytest.MonkeyPatch.context())
            playwright = self._browser.enter_context(sync_playwright())
            # Playwright runs an event loop in this very thread, in which Django then sees itself; nothing here is asynchronous.
            patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
            directory = self._browser.enter_context(TemporaryDirectory(prefix="zenith-browser-"))
            self.browser = playwright.chromium.launch(executable_path=deafened(path, Path(directory)), args=ARGUMENTS)
            self._browser.callback(self.browser.close)
        return self.browser

    def close_site(self) -> None:
        """End the site, which would change what other tests look at."""
        self.site = None
        self._site.close()

    def close(self) -> None:
        """End both."""
        self.close_site()
        self.browser = None
        self._browser.close()


def deafened(browser: str, directory: Path) -> Path:
    """Write a program that runs a browser as deaf.py does."""
    program = directory / "browser"
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(HERE / "deaf.py"), browser])} "$@"\n')
    program.chmod(0o700)
    return program


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Shared:
    return request.config.stash.setdefault(SHARED, Shared())


SHARED = pytest.StashKey[Shared]()
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End what is shared after the last test of this directory."""
    if (nextitem is None or HERE not in nextitem.path.parents) and SHARED in item.config.stash:
        item.config.stash[SHARED].close()


@pytest.fixture(scope="module")
def module_site(module_database: Emptying, shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return shared.open_site(lambda: tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def chromium(browser_path: str, shared: Shared) -> Browser:
    return shared.open_browser(browser_path)


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

    def on_exception(self, error: Error) -> None:
        """Keep what a script did not catch."""
        self.errors.append(f"exception: {error}")

    def on_socket(self, socket: WebSocket) -> None:
        """Keep the host that a WebSocket leads to."""
        self.hosts.add(urlsplit(socket.url).netloc)

    @property
    def _listeners(self) -> dict[str, Callable[[Any], None]]:
        return {
            "console": self.on_console, "pageerror": self.on_exception, "request": self.on_request, "websocket": self.on_socket,
        }  # fmt: skip

    def attach(self, page: Page) -> None:
        """Watch one page."""
        for event, listener in self._listeners.items():
            page.on(event, listener)  # type: ignore[call-overload]

    def detach(self, page: Page) -> None:
        """Watch it no longer."""
        for event, listener in self._listeners.items():
            page.remove_listener(event, listener)


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
            viewport={"width": width, "height": height}, java_script_enabled=scripts, locale="en-GB", reduced_motion="reduce"
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

    def logged_in(self, path: str = "", **options: int | bool) -> Page:
        """Open a page of the site in a browser with root's session; test_overview.py logs in through the form."""
        from django.contrib.auth.models import User
        from django.test import Client

        page = self.page(**options)  # type: ignore[arg-type]
        client = Client()
        client.force_login(User.objects.get(username="root"))
        page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": self._site.url}])
        page.goto(self._site.url + path)
        return page

    def leave(self, *, pictures: bool) -> None:
        """Close all pages, and keep a picture of each where that is wanted."""
        for number, context in enumerate(self.contexts):
            for page in context.pages if pictures else ():
                page.screenshot(path=self._directory / f"page-{number}.png")
            context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a test failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def visitor(chromium: Browser, site: Site, watch: Watch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    from django.contrib.auth.models import User

    User.objects.create_superuser("root", password=PASSWORD)
    # A test's own directory goes with the run.
    folder = os.environ.get("ZENITH_SCREENSHOTS")
    visitor = Visitor(chromium, site, watch, Path(folder, "failed", request.node.name) if folder else tmp_path)
    yield visitor
    visitor.leave(pictures=request.node.stash.get(FAILED, False))
