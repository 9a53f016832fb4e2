"""The pages in Chromium: the cost of a first load, and of 200 task updates a second on open pages."""

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

#: Playwright's timeout for a page to become live, in milliseconds.
TIMEOUT_MS = 30_000
#: Milliseconds to wait for late bytes and the last paint.
SETTLE_MS = 400
SIZE = {"width": 1440, "height": 900}
#: The live pages: the Overview has its own socket, the others refetch fragments; the queues also poll.
LIVE_PAGES = ("overview", "tasks", "task-retrying", "events", "queues")
# Records the browser's own metrics from the start of a page.
_OBSERVE = """
    window.seen = {lcp: 0, cls: 0, swaps: 0};
    const note = (type, take) =>
        new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({type, buffered: true});
    note("largest-contentful-paint", (entry) => { seen.lcp = entry.startTime; });
    note("layout-shift", (entry) => { if (!entry.hadRecentInput) seen.cls += entry.value; });
    document.addEventListener("zenith:swapped", () => { seen.swaps += 1; });
"""


@dataclass
class FirstLoad:
    """The first load of a page. Bytes are counted on the wire, including the socket and the headers."""

    bytes: int
    requests: int
    lcp: float
    cls: float
    longest_task: float


@dataclass
class LivePage:
    """An open page during updates. `longest_task` is in milliseconds of the main thread; `busy` is its share of time."""

    longest_task: float
    busy: float
    swaps: int
    cls: float


def measure_pages(web: Web, processes: Processes, cookie: str, sample: Sample, seconds: float) -> Report:
    """Load every page with an empty cache, then watch each live page for `seconds`."""
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import ARGUMENTS
    from tests.conftest import find_browser

    path = find_browser()
    if path is None:
        return Report("", notes=["  No Chromium on PATH: the pages were not measured in a browser."])
    pages = own_pages(sample)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        # The first page of a new browser includes its start-up.
        _first_load(browser, web, cookie, pages[0])
        loads = {visit.name: _first_load(browser, web, cookie, visit) for visit in pages}
        processes.start("engine", [sys.executable, "manage.py", "run_engine", "--only", "recorder"])
        moving = [visit for visit in pages if visit.name in LIVE_PAGES]
        with Updates(moving[2].paths[0].split("/")[2]) as updates:
            live_pages = {visit.name: _watch(browser, web, cookie, visit, seconds) for visit in moving}
            sent = updates.sent
        browser.close()
    return _report(loads, live_pages, sent)


def _context(browser: Browser, web: Web, cookie: str) -> BrowserContext:
    context = browser.new_context(viewport=SIZE, locale="en-GB")  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT_MS)
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": web.url}])
    context.add_init_script(_OBSERVE)
    return context


def _first_load(browser: Browser, web: Web, cookie: str, visit: Visit) -> FirstLoad:
    progress(f"pages: first load of {visit.name}")
    context = _context(browser, web, cookie)
    page = context.new_page()
    wire = _Wire(page)
    longest, _ = _traced(browser, page, lambda: _open(page, web, visit))
    metrics = page.evaluate("window.seen")
    context.close()
    return FirstLoad(wire.bytes, wire.requests, metrics["lcp"], metrics["cls"], longest)


def _watch(browser: Browser, web: Web, cookie: str, visit: Visit, seconds: float) -> LivePage:
    progress(f"pages: {visit.name} with {EACH_SECOND} updates a second")
    context = _context(browser, web, cookie)
    page = context.new_page()
    _open(page, web, visit)
    before = page.evaluate("window.seen")
    longest, busy = _traced(browser, page, lambda: page.wait_for_timeout(seconds * 1000))
    metrics = page.evaluate("window.seen")
    context.close()
    say(f"pages: {visit.name} with {EACH_SECOND} updates a second: longest task {longest:.0f} ms")
    return LivePage(longest, busy / seconds / 10, metrics["swaps"] - before["swaps"], metrics["cls"] - before["cls"])


def _open(page: Page, web: Web, visit: Visit) -> None:
    page.goto(web.url + visit.paths[0], wait_until="load")
    page.locator("#connection[data-state='live']").wait_for()
    page.wait_for_timeout(SETTLE_MS)


def _traced(browser: Browser, page: Page, act: Callable[[], None]) -> tuple[float, float]:
    """Return the longest task and the sum of all tasks of the page's main thread during an action, in milliseconds."""
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
    """Counts the bytes and requests of a page."""

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


def _report(loads: dict[str, FirstLoad], live_pages: dict[str, LivePage], sent: int) -> Report:
    report = Report("")
    first = [
        (f"    {name}", *map("{:.0f}".format, (load.bytes / 1000, load.requests, load.lcp, load.longest_task)), f"{load.cls:.3f}")
        for name, load in loads.items()
    ]
    live = [
        (f"    {name}", f"{live_page.longest_task:.0f}", f"{live_page.busy:.0f} %", str(live_page.swaps), f"{live_page.cls:.3f}")
        for name, live_page in live_pages.items()
    ]
    report.notes = [
        "  First load in Chromium with an empty cache: KB over the wire, requests, milliseconds until the largest paint, the",
        "  longest task of the main thread, and the layout shift:",
        *table([("    page", "KB", "requests", "paint", "task", "shift"), *first]),
        f"  Open during {EACH_SECOND} task updates a second ({sent:,} in all): the longest task in milliseconds, the share",
        "  of time that the main thread is busy, the number of replaced fragments, and the layout shift:",
        *table([("    page", "task", "busy", "swaps", "shift"), *live]),
    ]
    heaviest = max(loads, key=lambda name: loads[name].bytes)
    latest = max(loads, key=lambda name: loads[name].lcp)
    longest = max(live_pages, key=lambda name: live_pages[name].longest_task)
    shifts = [load.cls for load in loads.values()] + [live_page.cls for live_page in live_pages.values()]
    report.figures = [
        Figure(f"first load, the heaviest ({heaviest})", [loads[heaviest].bytes / 1000], unit="KB", target=below(250)),
        Figure(f"largest contentful paint, the latest ({latest})", [loads[latest].lcp], unit="ms", target=below(1000)),
        Figure(f"longest task under updates ({longest})", [live_pages[longest].longest_task], unit="ms", target=below(100)),
        Figure("layout shift, the most", [max(shifts)], unit="", target=below(0.1)),
    ]
    report.details = {
        "looks": {name: asdict(load) for name, load in loads.items()},
        "watches": {name: asdict(live_page) for name, live_page in live_pages.items()},
    }
    return report
