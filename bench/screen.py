"""The pages in Chromium: what a first look at each takes, and how the open ones bear 200 task updates a second."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.processes import Processes
from bench.report import Figure, Report, below, progress, say, table
from bench.updates import EACH_SECOND, Updates
from bench.visits import Visit, own_pages
from bench.web import Web

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.browser.sample import Sample

#: Milliseconds that a page has to become live, as Playwright counts.
PATIENCE = 30_000
#: Milliseconds in which late bytes and the last paint come in.
REST = 400
SIZE = {"width": 1440, "height": 900}
#: The pages that move: the Overview by its own socket, the others by asking again; the queues also look by themselves.
MOVING = ("overview", "tasks", "task-retrying", "events", "queues")
# What the browser says of itself, from the first moment on.
_OBSERVE = """
    window.seen = {lcp: 0, cls: 0, swaps: 0};
    const note = (type, take) =>
        new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({type, buffered: true});
    note("largest-contentful-paint", (entry) => { seen.lcp = entry.startTime; });
    note("layout-shift", (entry) => { if (!entry.hadRecentInput) seen.cls += entry.value; });
    document.addEventListener("zenith:swapped", () => { seen.swaps += 1; });
"""


@dataclass
class Look:
    """A first look at a page. Bytes as they came over the wire, the socket's and the header fields included."""

    bytes: int
    requests: int
    lcp: float
    cls: float
    longest_task: float


@dataclass
class Watch:
    """An open page while updates arrive. Tasks are those of the page's main thread, in milliseconds; `busy` is their share."""

    longest_task: float
    busy: float
    swaps: int
    cls: float


def look(web: Web, processes: Processes, cookie: str, sample: Sample, seconds: float) -> Report:
    """Look at every page with nothing cached, then watch the moving ones for so many seconds each."""
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import ARGUMENTS
    from tests.conftest import find_browser

    path = find_browser()
    if path is None:
        return Report("", notes=["  No Chromium on PATH: what the pages weigh and take in a browser was not measured."])
    pages = own_pages(sample)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        # The first page of a new browser pays for its start.
        _first_look(browser, web, cookie, pages[0])
        looks = {visit.name: _first_look(browser, web, cookie, visit) for visit in pages}
        processes.start("engine", [sys.executable, "manage.py", "run_engine", "--only", "recorder"])
        moving = [visit for visit in pages if visit.name in MOVING]
        with Updates(moving[2].paths[0].split("/")[2]) as updates:
            watches = {visit.name: _watch(browser, web, cookie, visit, seconds) for visit in moving}
            sent = updates.sent
        browser.close()
    return _report(looks, watches, sent)


def _context(browser: Browser, web: Web, cookie: str) -> BrowserContext:
    context = browser.new_context(viewport=SIZE, locale="en-GB")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": web.url}])
    context.add_init_script(_OBSERVE)
    return context


def _first_look(browser: Browser, web: Web, cookie: str, visit: Visit) -> Look:
    progress(f"pages: a first look at {visit.name}")
    context = _context(browser, web, cookie)
    page = context.new_page()
    wire = _Wire(page)
    longest, _ = _traced(browser, page, lambda: _open(page, web, visit))
    seen = page.evaluate("window.seen")
    context.close()
    return Look(wire.bytes, wire.requests, seen["lcp"], seen["cls"], longest)


def _watch(browser: Browser, web: Web, cookie: str, visit: Visit, seconds: float) -> Watch:
    progress(f"pages: {visit.name} with {EACH_SECOND} updates a second")
    context = _context(browser, web, cookie)
    page = context.new_page()
    _open(page, web, visit)
    before = page.evaluate("window.seen")
    longest, busy = _traced(browser, page, lambda: page.wait_for_timeout(seconds * 1000))
    seen = page.evaluate("window.seen")
    context.close()
    say(f"pages: {visit.name} with {EACH_SECOND} updates a second: longest task {longest:.0f} ms")
    return Watch(longest, busy / seconds / 10, seen["swaps"] - before["swaps"], seen["cls"] - before["cls"])


def _open(page: Page, web: Web, visit: Visit) -> None:
    page.goto(web.url + visit.paths[0], wait_until="load")
    page.locator("#connection[data-state='live']").wait_for()
    page.wait_for_timeout(REST)


def _traced(browser: Browser, page: Page, act: Callable[[], None]) -> tuple[float, float]:
    """Return the longest task of the page's main thread during an action, and all its tasks together, in milliseconds."""
    browser.start_tracing(page=page, categories=["toplevel"])
    act()
    events = json.loads(browser.stop_tracing())["traceEvents"]
    threads = {(event["pid"], event["tid"]) for event in events if event.get("args", {}).get("name") == "CrRendererMain"}
    tasks = [
        event["dur"] / 1000
        for event in events
        if event["name"] == "ThreadControllerImpl::RunTask" and (event["pid"], event["tid"]) in threads and "dur" in event
    ]
    return max(tasks, default=0.0), sum(tasks)


class _Wire:
    """Counts what a page receives."""

    def __init__(self, page: Page) -> None:
        self.bytes = self.requests = 0
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.loadingFinished", self._finished)
        session.on("Network.webSocketFrameReceived", self._frame)

    def _finished(self, event: dict[str, Any]) -> None:
        self.bytes += int(event["encodedDataLength"])
        self.requests += 1

    def _frame(self, event: dict[str, Any]) -> None:
        self.bytes += len(event["response"]["payloadData"].encode())


def _report(looks: dict[str, Look], watches: dict[str, Watch], sent: int) -> Report:
    report = Report("")
    first = [
        (f"    {name}", *map("{:.0f}".format, (look.bytes / 1000, look.requests, look.lcp, look.longest_task)), f"{look.cls:.3f}")
        for name, look in looks.items()
    ]
    live = [
        (f"    {name}", f"{watch.longest_task:.0f}", f"{watch.busy:.0f} %", str(watch.swaps), f"{watch.cls:.3f}")
        for name, watch in watches.items()
    ]
    report.notes = [
        "  A first look in Chromium, with nothing cached: KB over the wire, requests, milliseconds until the largest paint, the",
        "  longest task of the main thread, and how much the layout shifted:",
        *table([("    page", "KB", "requests", "paint", "task", "shift"), *first]),
        f"  Open while {EACH_SECOND} task updates a second arrive ({sent:,} in all): the longest task in milliseconds, the share",
        "  of the time that the main thread works, how often something was replaced, and the shift:",
        *table([("    page", "task", "busy", "swaps", "shift"), *live]),
    ]
    heaviest = max(looks, key=lambda name: looks[name].bytes)
    latest = max(looks, key=lambda name: looks[name].lcp)
    longest = max(watches, key=lambda name: watches[name].longest_task)
    shifts = [look.cls for look in looks.values()] + [watch.cls for watch in watches.values()]
    report.figures = [
        Figure(f"first load, the heaviest ({heaviest})", [looks[heaviest].bytes / 1000], unit="KB", target=below(250)),
        Figure(f"largest contentful paint, the latest ({latest})", [looks[latest].lcp], unit="ms", target=below(1000)),
        Figure(f"longest task under updates ({longest})", [watches[longest].longest_task], unit="ms", target=below(100)),
        Figure("layout shift, the most", [max(shifts)], unit="", target=below(0.1)),
    ]
    report.details = {
        "looks": {name: asdict(look) for name, look in looks.items()},
        "watches": {name: asdict(watch) for name, watch in watches.items()},
    }
    return report
