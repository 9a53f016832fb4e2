#!/usr/bin/env python3
"""Send triggers to a Zenith server and report what becomes of them. Requires only Python 3.11.

    python stress_test.py -n 100 --concurrency 10 --wait

The token comes from --token, from ZENITH_API_KEY, or from the file that `manage.py up` generated. Triggers beyond the server's
rate limit are answered with 429 and counted; raise ZENITH_RATE_LIMIT, or the token's own rate, to send more.

Exit status: 0 success (rate-limited triggers are no failure), 1 a request or a task failed or did not finish in time, 2 the
server cannot be reached or rejects the token, or an option is invalid.
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
#: Timeout of a request, and the time between two reads of the tasks, in seconds.
REQUEST_TIMEOUT = 30.0
POLL_EVERY = 0.5


class StopError(Exception):
    """The test cannot continue; the message says why."""


class Server:
    """A Zenith server, with one connection per thread.

    Arguments:
        url: its address, such as http://127.0.0.1:8000, with an optional path prefix.
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
        """Return the status, headers and JSON of a response. Raises OSError or HTTPException; the outcome is then unknown."""
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._kind(*self._address, timeout=REQUEST_TIMEOUT)
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        try:
            connection.request(method, self._path + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, HTTPException):
            # Do not retry a trigger: the first one may have arrived.
            connection.close()
            self._own.connection = None
            raise
        try:
            return answer.status, answer.headers, json.loads(raw)
        except ValueError:
            return answer.status, answer.headers, None


@dataclass
class Outcome:
    """The results of all triggers. Latencies are in seconds, of accepted triggers only."""

    accepted: int = 0
    limited: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    seconds: float = 0.0
    statuses: Counter[str] | None = None


def fire(server: Server, body: dict[str, Any], count: int, concurrency: int, show: Callable[[str, int, int], None]) -> Outcome:
    """Send `count` triggers, `concurrency` at a time."""
    outcome, lock, started = Outcome(), threading.Lock(), time.monotonic()

    def send_one(_: int) -> None:
        started_at = time.monotonic()
        try:
            status, _headers, answer = server.ask("POST", "/tasks/trigger", body)
            problem = "" if status in (200, 429) else f"{status} {detail(answer)}"
        except (OSError, HTTPException) as error:
            status, answer, problem = 0, None, f"{type(error).__name__}: {error}"
        took = time.monotonic() - started_at
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
        list(pool.map(send_one, range(count)))
    outcome.seconds = time.monotonic() - started
    return outcome


def wait(server: Server, ids: set[str], seconds: float, show: Callable[[str, int, int], None]) -> Counter[str]:
    """Poll tasks until all have ended or the time is over; return the number of tasks in each status."""
    deadline = time.monotonic() + seconds
    status: dict[str, str] = {}
    while True:
        status |= read_statuses(server, ids - {id_ for id_, state in status.items() if state in ENDED}, deadline)
        ended = sum(state in ENDED for state in status.values())
        show("tasks", ended, len(ids))
        if ended == len(ids) or time.monotonic() > deadline:
            return Counter(status.get(id_, "UNKNOWN") for id_ in ids)
        time.sleep(POLL_EVERY)


def read_statuses(server: Server, ids: set[str], deadline: float) -> dict[str, str]:
    """Return the statuses of tasks, up to a thousand per request; the list is newest first."""
    statuses: dict[str, str] = {}
    cursor = ""
    while ids - statuses.keys() and time.monotonic() <= deadline:
        status, headers, page = server.ask("GET", f"/tasks/all?limit=1000{cursor and '&cursor=' + cursor}")
        if status in (429, 503):
            time.sleep(min(float(headers.get("Retry-After") or 1), max(0.0, deadline - time.monotonic())))
            continue
        if status != 200:
            raise StopError(f"the tasks cannot be read: {status} {detail(page)}")
        statuses |= {task["task_id"]: task["status"] for task in page if task["task_id"] in ids}
        cursor = following(headers.get("Link", ""))
        # Ids begin with the time: pages past our oldest task have none of ours.
        if not cursor or page[-1]["task_id"] < min(ids):
            break
    return statuses


def following(link: str) -> str:
    """Return the cursor in a `Link: <…>; rel="next"` field."""
    if 'rel="next"' not in link:
        return ""
    query = urlsplit(link[link.index("<") + 1 : link.index(">")]).query
    return dict(pair.partition("=")[::2] for pair in query.split("&")).get("cursor", "")


def detail(answer: Any) -> str:
    """Return the message of a problem (RFC 9457), with its first invalid member."""
    if not isinstance(answer, dict):
        return ""
    culprits = answer.get("errors") or [{}]
    where = culprits[0].get("pointer") or culprits[0].get("parameter") or culprits[0].get("header") or ""
    return f"{where}: {culprits[0]['detail']}" if culprits[0].get("detail") else str(answer.get("detail", ""))


def percentile(sorted_values: Sequence[float], percent: int) -> float | None:
    """Return the value that this percentage of values does not exceed (nearest rank); None without values."""
    return sorted_values[max(0, math.ceil(len(sorted_values) * percent / 100) - 1)] if sorted_values else None


def report(outcome: Outcome) -> dict[str, Any]:
    """Return the numbers for --json; latencies are in milliseconds."""
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
    """Return the numbers as lines for people."""
    output = [
        f"triggers     {numbers['triggers']:,} in {numbers['seconds']:.1f} s",
        f"accepted     {numbers['accepted']:,}",
        f"limited      {numbers['limited']:,}",
        f"errors       {sum(numbers['errors'].values()):,}",
    ]
    output += [f"             {number:,} of: {what}" for what, number in numbers["errors"].items()]
    if numbers["accepted"]:
        output.append("latency      " + "  ".join(f"{name} {value:.1f} ms" for name, value in numbers["latency_ms"].items()))
    tasks = numbers["tasks"]
    output.append(f"tasks        {tasks['dispatched']:,} dispatched")
    if tasks.get("by_status"):
        output.append("             " + ", ".join(f"{number:,} {status}" for status, number in tasks["by_status"].items()))
        output.append(f"completion   {tasks['completion_percent']:g} %")
    return output


def succeeded(outcome: Outcome) -> bool:
    """Whether no request failed, and every task that was waited for succeeded."""
    return not outcome.errors and (outcome.statuses is None or set(outcome.statuses) <= {"SUCCESS"})


class Bar:
    """A progress bar, shown on a terminal only."""

    def __init__(self, *, visible: bool) -> None:
        self._visible = visible

    def show(self, what: str, done: int, of: int) -> None:
        """Redraw the bar."""
        if self._visible:
            filled = "█" * (BAR * done // max(1, of))
            sys.stderr.write(f"\r{what:9}{filled:░<{BAR}} {done:,}/{of:,}" + ("\n" if done == of else ""))
            sys.stderr.flush()


def find_token(option: str | None) -> str:
    """Return the token from the option, the environment, or this clone's data directory. Raises StopError."""
    token = option or os.environ.get("ZENITH_API_KEY", "").strip()
    if token:
        return token
    directory = Path(__file__).resolve().parent
    path = directory / Path(os.environ.get("ZENITH_DATA_DIR") or ".zenith").expanduser() / "secrets" / "api_key"
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise StopError(f"no token: set --token or ZENITH_API_KEY ({path}: {error.strerror})") from None


def check(server: Server) -> None:
    """Check that the server is reachable and accepts the token. Raises StopError."""
    try:
        status, _, answer = server.ask("GET", "/tasks/all?limit=1")
    except (OSError, HTTPException) as error:
        raise StopError(f"the server cannot be reached: {error or type(error).__name__}") from None
    if status in (401, 403, 404):
        raise StopError(f"the server answers {status}: {detail(answer) or 'this is not a Zenith server'}")


def number(text: str) -> int:
    """Parse a whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    what, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=what, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--url",
        default=os.environ.get("ZENITH_URL") or "http://127.0.0.1:8000",
        help="address of the server (default %(default)s)",
    )
    parser.add_argument("--token", help="API token with permission to read and dispatch")
    parser.add_argument("-n", type=number, default=100, metavar="N", help="number of triggers to send (default %(default)s)")
    parser.add_argument(
        "--concurrency", type=number, default=10, metavar="N", help="triggers to send at the same time (default %(default)s)"
    )
    parser.add_argument("--task", default="analyze_text", help="task to dispatch (default %(default)s)")
    parser.add_argument("--count", type=number, help="tasks per trigger (default: the server's)")
    parser.add_argument("--kwargs", type=json_object, default={}, metavar="JSON", help="keyword arguments of the tasks")
    parser.add_argument("--wait", action="store_true", help="wait until the dispatched tasks have ended")
    parser.add_argument("--timeout", type=number, default=300, metavar="S", help="maximum seconds to wait (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test; return the exit status."""
    args = options(arguments)
    bar = Bar(visible=sys.stderr.isatty() and not args.json)
    body = {"task": args.task, "kwargs": args.kwargs} | ({"count": args.count} if args.count else {})
    try:
        server = Server(args.url, find_token(args.token))
        check(server)
        outcome = fire(server, body, args.n, args.concurrency, bar.show)
        if args.wait:
            outcome.statuses = wait(server, outcome.ids, args.timeout, bar.show)
    except (StopError, OSError, HTTPException) as error:
        sys.stderr.write(f"stress_test: {error}\n")
        return 2
    numbers = report(outcome)
    sys.stdout.write((json.dumps(numbers) if args.json else "\n".join(lines(numbers))) + "\n")
    return 0 if succeeded(outcome) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
