"""`manage.py run_engine`: the loops behind the pages, until they are told to stop.

Its parts come from the apps (zenith_site/common/engine.py).
"""

import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from zenith_site.common.engine import loops
from zenith_site.common.loops import keep_running, stop_on_signals


class Command(BaseCommand):
    """Run the parts of the engine, each in a thread; any number of engines may run.

    A part that fails begins anew, while the others go on.
    """

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
        threads = [
            threading.Thread(target=keep_running, args=(stop, name, known[name]), name=name) for name in only or sorted(known)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.stdout.write("engine stopped")
