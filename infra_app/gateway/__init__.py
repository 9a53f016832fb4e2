"""The gateway to Docker Engines: the only package that imports `docker`.

Other code sees typed values (`values`, `spec`) and the errors of infra_app/errors.py. Every call has a timeout, and nothing is
retried here: callers observe the state again and take the steps that are still needed.
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
