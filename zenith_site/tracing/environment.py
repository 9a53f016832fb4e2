"""Tracing's configuration: OpenTelemetry's standard variables, most of which its SDK reads itself."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

INSTALL: Final = "pip install -r requirements-otel.txt"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PACKAGES: Final = {
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
}
#: Services by a word of the command line; everything else is `command`.
_SERVICES: Final = {"daphne": "web", "worker": "worker", "run_engine": "engine", "run_agent": "agent"}


def is_enabled() -> bool:
    """Whether traces are sent: an endpoint is set, and tracing is not disabled."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    none = os.environ.get("OTEL_TRACES_EXPORTER", "otlp").lower() == "none"
    return any(os.environ.get(name) for name in _ENDPOINTS) and not disabled and not none


def missing() -> str:
    """Return the names of missing packages, for pip; empty if all are installed."""
    return ", ".join(package for module, package in _PACKAGES.items() if not _installed(module))


def service_name() -> str:
    """Return the name of this process in traces, if `OTEL_SERVICE_NAME` is not set: `zenith-web`, `zenith-worker`, …"""
    words = [Path(sys.argv[0]).parent.name if sys.argv[0].endswith("__main__.py") else sys.argv[0], *sys.argv[1:]]
    return f"zenith-{next((role for word, role in _SERVICES.items() if word in words), 'command')}"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
