"""The engine's reconciler loop: takes in applications and their tasks, and recovers what died or got lost.

One engine at a time runs it.
"""

import threading
from typing import Final

from tasks_app.dispatch import cancel
from tasks_app.dispatch.cancel_attached import RequestedCancellations
from tasks_app.dispatch.resend import resend
from tasks_app.maintenance import applications, catalogues
from tasks_app.maintenance.reconciler import HeldMessageRecovery, LostTaskSearch
from zenith_site.common.advisory_locks import AdvisoryLock, try_advisory_lock
from zenith_site.common.faults import isolate_faults
from zenith_site.common.loops import repeat

#: Seconds between two passes.
PASS_EVERY: Final = 3.0
#: Tasks sent again in one transaction.
CHUNK: Final = 500


def run(stop: threading.Event) -> None:
    """Reconcile until `stop` is set."""
    recoverer, searcher = HeldMessageRecovery(), LostTaskSearch()
    requested, gone = RequestedCancellations(), applications.GoneWorkers()

    def once() -> None:
        with try_advisory_lock(AdvisoryLock.RECONCILER) as acquired:
            if acquired:
                with isolate_faults("reconciler", "announced applications"):
                    applications.take_in()
                with isolate_faults("reconciler", "cancellations of other applications' tasks"):
                    requested.run_once()
                with isolate_faults("reconciler", "catalogues"):
                    catalogues.take_in()
                gone.run_once()
                reconcile(recoverer, searcher)

    repeat(stop, "reconciler", once, every=PASS_EVERY)


def reconcile(recoverer: HeldMessageRecovery, searcher: LostTaskSearch) -> None:
    """Reconcile once. Raises django.db.Error, redis.RedisError or BrokerUnavailableError."""
    recoverer.run_once()
    lost = searcher.run_once()
    for start in range(0, len(lost), CHUNK):
        resend(lost[start : start + CHUNK])
    cancel.revoke_requested()
