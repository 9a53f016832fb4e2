"""Spans of OpenTelemetry's SDK, sent in the background. If the endpoint is unreachable, only spans are lost."""

import atexit
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from celery.signals import worker_process_shutdown
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from zenith_site.tracing import environment
from zenith_site.version import VERSION
from zenith_worker.wire import spans
from zenith_worker.wire.spans import Attribute, Kind

#: Seconds that an ending process waits for its unsent spans.
FLUSH_SECONDS: Final = 2.0
_KINDS: Final = {
    "server": SpanKind.SERVER, "producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL,
}  # fmt: skip


class OpenTelemetry:
    """Creates spans with a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("zenith", VERSION)

    @contextmanager
    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Attribute], parent: Mapping[str, str] | None
    ) -> Iterator[None]:
        """Open a span for the duration of a block."""
        context = propagate.extract(parent) if parent is not None else None
        with self._tracer.start_as_current_span(name, context, _KINDS[kind], dict(attributes)):
            yield

    def carried(self) -> dict[str, str]:
        """Return the current span as headers."""
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return headers


def set_up() -> None:
    """Make this process, and those that it forks, send spans."""
    # The environment's attributes override ours.
    defaults = Resource({SERVICE_NAME: environment.service_name(), SERVICE_VERSION: VERSION})
    provider = TracerProvider(resource=defaults.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    spans.set_tracer(OpenTelemetry(provider))
    # It logs a warning for every attempt, and an error when it gives up on a batch.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    atexit.register(_flush, provider)
    # Pool processes end without atexit.
    worker_process_shutdown.connect(lambda **_: _flush(provider), weak=False)


def _flush(provider: TracerProvider) -> None:
    """Send the remaining spans, for a limited time: the SDK's own flush waits as long as its exporter retries."""
    thread = threading.Thread(target=provider.force_flush, name="traces", daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
