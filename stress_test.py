#!/usr/bin/env python3
"""Fire triggers at a Zenith and see what becomes of them; needs nothing but Python 3.11.

    python stress_test.py -n 100 --concurrency 10 --wait

The token is that of --token, of ZENITH_API_KEY, or the one that `manage.py up` generated. Triggers beyond the server's rate limit
are told so and counted; ZENITH_RATE_LIMIT, or a rate of the token's own, lets more through.

Exit status: 0 all is well (a limited trigger is well: the limit works), 1 a request or a task failed or did not end in
time, 2 the server cannot be reached or refuses the token, or an option makes no sense.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ENDED = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
BAR = 30
#: Seconds that one request may take, and between two looks at the tasks.
PATIENCE = 30.0
LOOK_EVERY = 0.5


class StopError(Exception):
    """Going on makes no sense; the message says why."""


class Server:
    """A Zenith, with one connection for each thread that asks it.

    Arguments:
        url: its address, such as http://127.0.0.1:8000, perhaps with a path in front of the API's.
        token: sent as X-API-Key.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StopError(f"--url {url!r} is not accepted: it takes an address such as http://127.0.0.1:8000")
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._address = (parts.hostname, parts.port)
        self._path = parts.path.rstrip("/")
        self._headers = {"X-API-Key": token, "Accept": "application/json"}
        self._own = threading.local()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, HTTPMessage, Any]:
        """Return status, header fields and the JSON of an answer. Raises OSError or HTTPException; then nothing is known."""
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._kind(*self._address, timeout=PATIENCE)
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        try:
            connection.request(method, self._path + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, HTTPException):
            # A trigger is not sent again: whether the first arrived is not known.
            connection.close()
            self._own.connection = None
            raise
        try:
            return answer.status, answer.headers, json.loads(raw)
        except ValueError:
            return answer.status, answer.headers, None


@dataclass
class Outcome:
    """What came of all triggers. Latencies are in seconds, of accepted triggers only."""

    accepted: int = 0
    limited: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    seconds: float = 0.0
    statuses: Counter[str] | None = None


def fire(server: Server, body: dict[str, Any], count: int, concurrency: int, show: Callable[[str, int, int], None]) -> Outcome:
    """Send so many triggers, so many at a time."""
    outcome, lock, started = Outcome(), threading.Lock(), time.monotonic()

    def one(_: int) -> None:
        begun = time.monotonic()
        try:
            status, _headers, answer = server.ask("POST", "/tasks/trigger", body)
            problem = "" if status in (200, 429) else f"{status} {detail(answer)}"
        except (OSError, HTTPException) as error:
            status, answer, problem = 0, None, f"{type(error).__name__}: {error}"
        took = time.monotonic() - begun
        with lock:
            if problem:
                outcome.errors[problem] += 1
            elif status == 429:
                outcome.limited += 1
            else:
                outcome.accepted += 1
                outcome.latencies.append(took)
                outcome.ids.update(answer["ids"])
            show("triggers", outcome.accepted + outcome.limited + outcome.errors.total(), count)

    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        list(pool.map(one, range(count)))
    outcome.seconds = time.monotonic() - started
    return outcome


def wait(server: Server, ids: set[str], seconds: float, show: Callable[[str, int, int], None]) -> Counter[str]:
    """Follow tasks until all ended, at most so many seconds; return how many are in which status."""
    deadline = time.monotonic() + seconds
    status: dict[str, str] = {}
    while True:
        status |= look(server, ids - {id_ for id_, found in status.items() if found in ENDED}, deadline)
        ended = sum(found in ENDED for found in status.values())
        show("tasks", ended, len(ids))
        if ended == len(ids) or time.monotonic() > deadline:
            return Counter(status.get(id_, "UNKNOWN") for id_ in ids)
        time.sleep(LOOK_EVERY)


def look(server: Server, ids: set[str], deadline: float) -> dict[str, str]:
    """Return the statuses of tasks, a thousand with one request: the list goes from the newest task to the oldest."""
    found: dict[str, str] = {}
    cursor = ""
    while ids - found.keys() and time.monotonic() <= deadline:
        status, headers, page = server.ask("GET", f"/tasks/all?limit=1000{cursor and '&cursor=' + cursor}")
        if status in (429, 503):
            time.sleep(min(float(headers.get("Retry-After") or 1), max(0.0, deadline - time.monotonic())))
            continue
        if status != 200:
            raise StopError(f"the tasks cannot be read: {status} {detail(page)}")
        found |= {task["task_id"]: task["status"] for task in page if task["task_id"] in ids}
        cursor = following(headers.get("Link", ""))
        # Ids begin with the time: past the oldest of ours there is none.
        if not cursor or page[-1]["task_id"] < min(ids):
            break
    return found


def following(link: str) -> str:
    """Return the cursor in a `Link: <…>; rel="next"` field."""
    if 'rel="next"' not in link:
        return ""
    query = urlsplit(link[link.index("<") + 1 : link.index(">")]).query
    return dict(pair.partition("=")[::2] for pair in query.split("&")).get("cursor", "")


def detail(answer: Any) -> str:
    """Return what a problem (RFC 9457) says, with its first culprit."""
    if not isinstance(answer, dict):
        return ""
    culprits = answer.get("errors") or [{}]
    where = culprits[0].get("pointer") or culprits[0].get("parameter") or culprits[0].get("header") or ""
    return f"{where}: {culprits[0]['detail']}" if culprits[0].get("detail") else str(answer.get("detail", ""))


def percentile(sorted_values: Sequence[float], percent: int) -> float | None:
    """Return the value that so many percent do not exceed (nearest rank); None of nothing."""
    return sorted_values[max(0, math.ceil(len(sorted_values) * percent / 100) - 1)] if sorted_values else None


def report(outcome: Outcome) -> dict[str, Any]:
    """Return the numbers, as --json prints them; latencies in milliseconds."""
    latencies = sorted(outcome.latencies)
    points = {f"p{percent}": percentile(latencies, percent) for percent in (50, 95, 99)}
    tasks: dict[str, Any] = {"dispatched": len(outcome.ids)}
    if outcome.statuses is not None:
        ended = sum(number for status, number in outcome.statuses.items() if status in ENDED)
        tasks["by_status"] = dict(sorted(outcome.statuses.items()))
        tasks["completion_percent"] = round(100 * ended / len(outcome.ids), 1) if outcome.ids else None
    return {
        "triggers": outcome.accepted + outcome.limited + outcome.errors.total(),
        "accepted": outcome.accepted,
        "limited": outcome.limited,
        "errors": dict(outcome.errors),
        "seconds": round(outcome.seconds, 3),
        "latency_ms": {name: None if value is None else round(value * 1000, 1) for name, value in points.items()},
        "tasks": tasks,
    }


def lines(numbers: dict[str, Any]) -> list[str]:
    """Return the numbers for people."""
    shown = [
        f"triggers     {numbers['triggers']:,} in {numbers['seconds']:.1f} s",
        f"accepted     {numbers['accepted']:,}",
        f"limited      {numbers['limited']:,}",
        f"errors       {sum(numbers['errors'].values()):,}",
    ]
    shown += [f"             {number:,} of: {what}" for what, number in numbers["errors"].items()]
    if numbers["accepted"]:
        shown.append("latency      " + "  ".join(f"{name} {value:.1f} ms" for name, value in numbers["latency_ms"].items()))
    tasks = numbers["tasks"]
    shown.append(f"tasks        {tasks['dispatched']:,} dispatched")
    if tasks.get("by_status"):
        shown.append("             " + ", ".join(f"{number:,} {status}" for status, number in tasks["by_status"].items()))
        shown.append(f"completion   {tasks['completion_percent']:g} %")
    return shown


def succeeded(outcome: Outcome) -> bool:
    """Whether nothing went wrong: no error, and every task that was waited for returned."""
    return not outcome.errors and (outcome.statuses is None or set(outcome.statuses) <= {"SUCCESS"})


class Bar:
    """A line that shows how far it is, at a terminal only."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def show(self, what: str, done: int, of: int) -> None:
        """Draw it anew."""
        if self._shown:
            filled = "█" * (BAR * done // max(1, of))
            sys.stderr.write(f"\r{what:9}{filled:░<{BAR}} {done:,}/{of:,}" + ("\n" if done == of else ""))
            sys.stderr.flush()


def find_token(given: str | None) -> str:
    """Return the token of the option, of the environment, or of this clone's data directory. Raises StopError."""
    token = given or os.environ.get("ZENITH_API_KEY", "").strip()
    if token:
        return token
    here = Path(__file__).resolve().parent
    path = here / Path(os.environ.get("ZENITH_DATA_DIR") or ".zenith").expanduser() / "secrets" / "api_key"
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise StopError(f"no token: give --token or ZENITH_API_KEY ({path}: {error.strerror})") from None


def check(server: Server) -> None:
    """Make sure that the server is there and takes the token, before anything is fired. Raises StopError."""
    try:
        status, _, answer = server.ask("GET", "/tasks/all?limit=1")
    except (OSError, HTTPException) as error:
        raise StopError(f"the server cannot be reached: {error or type(error).__name__}") from None
    if status in (401, 403, 404):
        raise StopError(f"the server answers {status}: {detail(answer) or 'this is no Zenith'}")


def number(text: str) -> int:
    """Read a whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    what, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=what, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("ZENITH_URL") or "http://127.0.0.1:8000", help="default %(default)s")
    parser.add_argument("--token", help="an API token that may read and dispatch")
    parser.add_argument("-n", type=number, default=100, metavar="N", help="triggers to fire (default %(default)s)")
    parser.add_argument("--concurrency", type=number, default=10, metavar="N", help="at the same time (default %(default)s)")
    parser.add_argument("--task", default="analyze_text", help="default %(default)s")
    parser.add_argument("--count", type=number, help="tasks of each trigger (default: the server's)")
    parser.add_argument("--kwargs", type=json_object, default={}, metavar="JSON", help="the tasks' named arguments")
    parser.add_argument("--wait", action="store_true", help="until the dispatched tasks have ended")
    parser.add_argument("--timeout", type=number, default=300, metavar="S", help="seconds to wait at most (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return the exit status."""
    given = options(arguments)
    bar = Bar(shown=sys.stderr.isatty() and not given.json)
    body = {"task": given.task, "kwargs": given.kwargs} | ({"count": given.count} if given.count else {})
    try:
        server = Server(given.url, find_token(given.token))
        check(server)
        outcome = fire(server, body, given.n, given.concurrency, bar.show)
        if given.wait:
            outcome.statuses = wait(server, outcome.ids, given.timeout, bar.show)
    except (StopError, OSError, HTTPException) as error:
        sys.stderr.write(f"stress_test: {error}\n")
        return 2
    numbers = report(outcome)
    sys.stdout.write((json.dumps(numbers) if given.json else "\n".join(lines(numbers))) + "\n")
    return 0 if succeeded(outcome) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
