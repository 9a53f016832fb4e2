"""`python -m bench`: run the benchmarks and print the results."""

from __future__ import annotations

import argparse
import signal
import sys

from bench.isolated import exit_on_signal, run_isolated
from bench.processes import BenchError
from bench.report import print_json, print_reports, progress

BENCHMARKS = (
    "tracking", "attached", "logs", "watch", "bulk", "latency", "results", "footprint", "lists", "pages", "reconcile", "prune",
    "nodes", "soak",
)  # fmt: skip


def main() -> int:
    """Run; the exit status is 0 if all benchmarks completed, whatever their results."""
    options = _options()
    signal.signal(signal.SIGTERM, exit_on_signal)
    try:
        reports = [
            run_isolated(name, rounds=options.rounds, quick=options.quick)
            for name in BENCHMARKS
            if name in (options.only or BENCHMARKS)
        ]
    except BenchError as error:
        progress("")
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    (print_json if options.json else print_reports)(reports)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Zenith beside its peers, in ratios.")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="run only this benchmark; may be repeated")
    parser.add_argument("--rounds", type=_positive, help="rounds of each benchmark (each has its own default)")
    parser.add_argument("--quick", action="store_true", help="run fewer and shorter rounds, for a rough estimate")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser.parse_args()


def _positive(value: str) -> int:
    if not value.isdigit() or not int(value):
        raise argparse.ArgumentTypeError(f"{value!r} is not accepted: it takes a whole number from 1")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
