"""Spans by OpenTelemetry's SDK, sent in the background. An endpoint that is away costs spans, and nothing else."""

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

#: Seconds that a process which ends gives the spans that it has not sent yet.
FLUSH_SECONDS: Final = 2.0
_KINDS: Final = {
    "server": SpanKind.SERVER, "producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL,
}  # fmt: skip


class OpenTelemetry:
    """Makes spans of a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("zenith", VERSION)

    @contextmanager
    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Attribute], parent: Mapping[str, str] | None
    ) -> Iterator[None]:
        """Make a span the current one for the time of a block."""
        context = propagate.extract(parent) if parent is not None else None
        with self._tracer.start_as_current_span(name, context, _KINDS[kind], dict(attributes)):
            yield

    def carried(self) -> dict[str, str]:
        """Return the current span as headers."""
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return headers


def set_up() -> None:
    """Let this process, and those that it forks, send spans."""
    # What the environment says of the resource counts for more.
    ours = Resource({SERVICE_NAME: environment.service_name(), SERVICE_VERSION: VERSION})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    spans.set_tracer(OpenTelemetry(provider))
    # It warns of every try; once it gives up on a batch it says so as an error.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    atexit.register(_flush, provider)
    # Pool processes end without atexit.
    worker_process_shutdown.connect(lambda **_: _flush(provider), weak=False)


def _flush(provider: TracerProvider) -> None:
    """Send what is left, within bounds: the SDK's own flush waits for as long as its exporter tries."""
    thread = threading.Thread(target=provider.force_flush, name="traces", daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
