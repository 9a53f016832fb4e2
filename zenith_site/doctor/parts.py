"""What parts of Zenith met and nobody foresaw."""

from collections.abc import Iterator

from zenith_site.common import faults
from zenith_site.doctor.registry import REDIS, Finding, check, error


@check("Zenith's own parts", REDIS)
def parts() -> Iterator[Finding]:
    """No loop of an engine or an agent meets errors that nobody foresaw."""
    for fault in faults.recent():
        yield error(
            f"{fault.part} fails{f' at {fault.item}' if fault.item else ''} ({fault.place}): {fault.error}",
            "its log has the traceback; it tries again by itself, and the other parts go on",
        )
