"""Send no-ops at a steady pace, until it is stopped: `python -m bench.peers.steadily APP PER_SECOND`."""

import importlib
import sys
import time

from bench.tasks import noop


def main(module: str, per_second: str) -> None:
    """Send."""
    app = importlib.import_module(module).app
    app.set_current()
    while True:
        noop.delay()
        time.sleep(1 / float(per_second))


if __name__ == "__main__":
    main(*sys.argv[1:])
