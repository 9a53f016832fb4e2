"""`manage.py run_engine`: the loops behind the pages, until they are told to stop.

Its parts come from the apps (zenith_site/common/engine.py).
"""

import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from zenith_site.common.engine import loops
from zenith_site.common.loops import stop_on_signals


class Command(BaseCommand):
    """Run the parts of the engine, each in a thread; any number of engines may run."""

    help = (
        "Publish due tasks, record what workers report, repair what died or got lost, place and scale "
        "nodes, and tell people of what needs them. "
        "Any number of engines may run."
    )
    # They import the URLs, and with them all pages and the API, which it has no use for.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the names of the parts to run."""
        parser.add_argument(
            "--only", action="append", choices=sorted(loops()), metavar="PART",
            help=f"run this part only; may be repeated: {', '.join(sorted(loops()))}",
        )  # fmt: skip

    def handle(self, *args: Any, only: list[str] | None, **options: Any) -> None:
        """Run until SIGTERM or SIGINT; what is under way is finished first."""
        stop = threading.Event()
        stop_on_signals(stop)
        known = loops()
        threads = [threading.Thread(target=known[name], args=(stop,), name=name) for name in only or sorted(known)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if not stop.wait(1.0) and not all(thread.is_alive() for thread in threads):
                stop.set()  # a part died of a bug: end all, so that the supervisor starts anew
        for thread in threads:
            thread.join()
        self.stdout.write("engine stopped")
