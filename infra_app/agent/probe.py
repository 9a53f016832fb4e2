"""Asking the engine whether it is there, and what it is, apart from the agent's own signs of life: an engine may hang."""

import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from infra_app.agent.loop import Every
from infra_app.errors import EngineError
from infra_app.gateway import Engine, EngineInfo

#: Seconds between two questions, and between two that ask for everything.
ASK_EVERY: Final = 3.0
INFO_EVERY: Final = 30.0


class Probe:
    """Keeps what is known of the engine, for the host's row.

    Arguments:
        returned: called when the engine answers after it did not.
    """

    def __init__(self, engine: Engine, returned: Callable[[], None]) -> None:
        self._engine = engine
        self._returned = returned
        self._full = Every(INFO_EVERY)
        self._news: dict[str, Any] = {}
        self._away = False
        self.info: EngineInfo | None = None

    def run(self, stop: threading.Event) -> None:
        """Ask until stopped."""
        while not stop.is_set():
            self.look()
            stop.wait(ASK_EVERY)

    def look(self) -> None:
        """Ask once."""
        try:
            if self._away or self._full.due():
                self.info = self._engine.info()
                self._news = host_fields(self.info)
            else:
                self._engine.ping()
        except EngineError as error:
            self._away = True
            self._news = {"engine_error": str(error)}
            return
        if self._away:
            self._away = False
            self._returned()

    def news(self) -> dict[str, Any]:
        """Return fields of the host's row, those that were found since the last call."""
        news, self._news = self._news, {}
        return news


def host_fields(info: EngineInfo) -> dict[str, Any]:
    """Return what the host's row says of an engine that answers."""
    fields = asdict(info)
    return {"engine_version": fields.pop("version"), **fields, "engine_error": ""}
