"""The engine's upkeep loop for nodes; any number of engines may run it.

Each pass is idempotent: it places waiting nodes on hosts that have room now, removes nodes that were to leave once they are
drained, and prunes old samples, nodes and groups.
"""

import threading
import time
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from infra_app import nodes, scheduler
from infra_app.models import Node, NodeGroup, NodeSample
from infra_app.states import NodeStatus
from zenith_site.common.faults import isolate_faults
from zenith_site.common.loops import repeat

STEP_EVERY: Final = 1.0
_PRUNE_EVERY: Final = 600.0
SAMPLES_KEPT: Final = timedelta(days=1)
_CHUNK: Final = 1000


def run(stop: threading.Event) -> None:
    """Run the loop until `stop` is set."""
    pruned_at = float("-inf")

    def step() -> bool:
        nonlocal pruned_at
        placed = removed = 0
        with isolate_faults("placer", "nodes that wait for a host"):
            placed = scheduler.place_waiting()
        with isolate_faults("placer", "nodes that are drained"):
            removed = nodes.remove_drained()
        if time.monotonic() - pruned_at >= _PRUNE_EVERY:
            pruned_at = time.monotonic()
            with isolate_faults("placer", "what is too old"):
                prune()
        return bool(placed or removed)

    repeat(stop, "placer", step, every=STEP_EVERY)


def prune() -> None:
    """Delete usage samples older than a day, and nodes and groups that were removed ZENITH_RETENTION_DAYS ago."""
    now = timezone.now()
    while _delete_oldest_samples(now - SAMPLES_KEPT):
        pass
    long_ago = now - timedelta(days=settings.ZENITH_RETENTION_DAYS)
    Node.objects.filter(status=NodeStatus.REMOVED, finished_at__lt=long_ago).delete()
    NodeGroup.objects.filter(removed_at__lt=long_ago, nodes=None).delete()


def _delete_oldest_samples(before: datetime) -> int:
    ids = list(NodeSample.objects.filter(at__lt=before).order_by("at").values_list("id", flat=True)[:_CHUNK])
    return NodeSample.objects.filter(id__in=ids).delete()[0] if ids else 0
