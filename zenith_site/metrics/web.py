"""`GET /metrics`: open to all unless ZENITH_METRICS_TOKEN is set; rendered at most once a second."""

import threading
import time
from hmac import compare_digest
from http import HTTPStatus
from typing import ClassVar, Final

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client.exposition import choose_encoder

from zenith_site.metrics.collector import ZenithCollector
from zenith_site.metrics.http import registry
from zenith_site.problems import Answer, render

#: Seconds for which a response is cached.
KEPT: Final = 1.0

registry.register(ZenithCollector())


class _Memory:
    """The cached responses of this process by format, with their time; one thread at a time renders one."""

    answers: ClassVar[dict[str, tuple[float, bytes]]] = {}
    lock = threading.Lock()


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics in the requested format: Prometheus' text or OpenMetrics."""
    if not _may_ask(request):
        detail = "Send the token of ZENITH_METRICS_TOKEN as `Authorization: Bearer TOKEN`."
        challenge = {"WWW-Authenticate": 'Bearer realm="zenith-metrics"'}
        return render(Answer(HTTPStatus.UNAUTHORIZED, detail, headers=challenge))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    with _Memory.lock:
        made_at, text = _Memory.answers.get(content_type, (float("-inf"), b""))
        if time.monotonic() - made_at > KEPT:
            text = encode(registry)
            _Memory.answers[content_type] = (time.monotonic(), text)
    return HttpResponse(text, content_type=content_type)


def _may_ask(request: HttpRequest) -> bool:
    if not settings.ZENITH_METRICS_TOKEN:
        return True
    credentials = request.headers.get("Authorization", "")
    return compare_digest(credentials.encode(), f"Bearer {settings.ZENITH_METRICS_TOKEN}".encode())
