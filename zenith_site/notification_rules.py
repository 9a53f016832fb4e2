"""The notification rule about Zenith's own faults."""

from zenith_site.common import faults
from zenith_site.common.site_paths import page_path
from zenith_site.notify import decisions
from zenith_site.notify.decisions import Evaluation
from zenith_site.notify.kinds import NotificationKind, Severity
from zenith_site.notify.rules import Rule, register


def _faults(open_keys: frozenset[str]) -> Evaluation:
    by_part = {fault.part: (fault.item, fault.error) for fault in faults.recent()}
    return decisions.faults(by_part, open_keys, page_path("notifications"))


register(Rule(NotificationKind.FAULT, Severity.CRITICAL, _faults, for_=0.0, keep_firing_for=faults.RECENT))
