"""An agent that kills itself with SIGKILL after it has taken a given step for the first time.

python -m tests.docker.dying_agent HOST ENGINE WHAT
"""

from __future__ import annotations

import os
import signal
import sys
import threading

import django


def main(host: str, url: str, after: str) -> None:
    """Run the host's agent until that step."""
    django.setup()
    from infra_app.agent.leadership import Agent
    from infra_app.gateway import Connection, Engine

    def reached(what: str) -> None:
        if what == after:
            os.kill(os.getpid(), signal.SIGKILL)

    Agent(host, Engine(Connection(url)), {"address": url}, reached=reached).run(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
