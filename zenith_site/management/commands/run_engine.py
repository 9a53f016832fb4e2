"""`manage.py run_engine`: runs the engine's background loops until it is stopped.

Each app registers its own loops (zenith_site/common/engine.py).
"""

import gc
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from zenith_site.common.engine import loops
from zenith_site.common.loops import keep_running, stop_on_signals


class Command(BaseCommand):
    """Runs the parts of the engine, each in a thread; any number of engines may run.

    A part that fails restarts, while the others keep running.
    """

    help = (
        "Publish due tasks, record workers' reports, recover lost tasks, place and scale nodes, and send notifications. "
        "Any number of engines may run."
    )
    # Django's checks import the URLs, and with them all pages and the API, which the engine does not need.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--only", action="append", choices=sorted(loops()), metavar="PART",
            help=f"run only this part; may be repeated: {', '.join(sorted(loops()))}",
        )  # fmt: skip

    def handle(self, *args: Any, only: list[str] | None, **options: Any) -> None:
        """Run until SIGTERM or SIGINT; work in progress is finished first."""
        stop = threading.Event()
        stop_on_signals(stop)
        by_name = loops()
        # What is loaded by now stays: looking through it again and again would take a tenth of a recorder's time.
        gc.collect()
        gc.freeze()
        threads = [
            threading.Thread(target=keep_running, args=(stop, name, by_name[name]), name=name) for name in only or sorted(by_name)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.stdout.write("engine stopped")
