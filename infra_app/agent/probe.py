"""Probe the engine in a thread of its own, because an engine may hang and must not delay the agent's heartbeat."""

import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from infra_app.agent.loop import Interval
from infra_app.errors import EngineError
from infra_app.gateway import Engine, EngineInfo

#: Seconds between two pings, and between two full reads of the engine's information.
PING_EVERY: Final = 3.0
INFO_EVERY: Final = 30.0


class Probe:
    """Keeps the engine's state for the host's row.

    Arguments:
        returned: called when an engine that was unreachable answers again.
    """

    def __init__(self, engine: Engine, returned: Callable[[], None]) -> None:
        self._engine = engine
        self._returned = returned
        self._info_due = Interval(INFO_EVERY)
        self._news: dict[str, Any] = {}
        self._unreachable = False
        self.info: EngineInfo | None = None

    def run(self, stop: threading.Event) -> None:
        """Probe until stopped."""
        while not stop.is_set():
            self.look()
            stop.wait(PING_EVERY)

    def look(self) -> None:
        """Probe once."""
        try:
            if self._unreachable or self._info_due.due():
                self.info = self._engine.info()
                self._news = host_fields(self.info)
            else:
                self._engine.ping()
        except EngineError as error:
            self._unreachable = True
            self._news = {"engine_error": str(error)}
            return
        if self._unreachable:
            self._unreachable = False
            self._returned()

    def news(self) -> dict[str, Any]:
        """Return the fields of the host's row that changed since the last call."""
        news, self._news = self._news, {}
        return news


def host_fields(info: EngineInfo) -> dict[str, Any]:
    """Return the fields of the host's row for an engine that answers."""
    fields = asdict(info)
    return {"engine_version": fields.pop("version"), **fields, "engine_error": ""}
