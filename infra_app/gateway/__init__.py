"""Docker engines: the only package that imports `docker`.

Everything else sees typed values (`seen`, `spec`) and the errors of infra_app/errors.py. Each call has a time limit, and
nothing is tried again here: who calls looks again and does what is still to be done.
"""

from infra_app.gateway.connection import Connection, Tls
from infra_app.gateway.engine import Engine
from infra_app.gateway.inventory import Sizes, inventory, sizes
from infra_app.gateway.spec import ContainerSpec
from infra_app.gateway.values import ContainerState, ContainerStats, EngineEvent, EngineInfo, LogLine, OwnedContainer

__all__ = [
    "Connection",
    "ContainerSpec",
    "ContainerState",
    "ContainerStats",
    "Engine",
    "EngineEvent",
    "EngineInfo",
    "LogLine",
    "OwnedContainer",
    "Sizes",
    "Tls",
    "inventory",
    "sizes",
]  # fmt: skip
