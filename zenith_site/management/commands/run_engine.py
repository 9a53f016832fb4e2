"""`manage.py run_engine`: the loops behind the pages, until they are told to stop.

Here and not in an app, since its parts come from the apps and from the site.
"""

import threading
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand

from infra_app import autoscaler, upkeep
from tasks_app.dispatch import relay, repair, replays
from tasks_app.maintenance import retention, samples
from tasks_app.recording import recorder
from zenith_site.common.loops import stop_on_signals
from zenith_site.notify import outbox, watch

PARTS: Final = {
    "recorder": recorder.run,
    "relay": relay.run,
    "reconciler": repair.run,
    "replays": replays.run,
    "retention": retention.run,
    "samples": samples.run,
    "placer": upkeep.run,
    "autoscaler": autoscaler.run,
    "notifications": watch.run,
    "outbox": outbox.run,
}


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
            "--only", action="append", choices=sorted(PARTS), metavar="PART",
            help=f"run this part only; may be repeated: {', '.join(sorted(PARTS))}",
        )  # fmt: skip

    def handle(self, *args: Any, only: list[str] | None, **options: Any) -> None:
        """Run until SIGTERM or SIGINT; what is under way is finished first."""
        stop = threading.Event()
        stop_on_signals(stop)
        threads = [threading.Thread(target=PARTS[name], args=(stop,), name=name) for name in only or sorted(PARTS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if not stop.wait(1.0) and not all(thread.is_alive() for thread in threads):
                stop.set()  # a part died of a bug: end all, so that the supervisor starts anew
        for thread in threads:
            thread.join()
        self.stdout.write("engine stopped")
