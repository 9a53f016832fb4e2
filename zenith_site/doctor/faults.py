"""Faults: unexpected errors of Zenith's own loops."""

from collections.abc import Iterator

from zenith_site.common import faults
from zenith_site.doctor.registry import REDIS, Finding, check, error


@check("Zenith's own parts", REDIS)
def parts() -> Iterator[Finding]:
    """No loop of an engine or an agent fails with unexpected errors."""
    for fault in faults.recent():
        yield error(
            f"{fault.part} fails{f' at {fault.item}' if fault.item else ''} ({fault.place}): {fault.error}",
            "see its log for the traceback; it retries by itself, and the other parts keep running",
        )
