"""The status of a workflow, which follows from those of its tasks."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from zenith_worker.wire.states import OPEN, Status


class WorkflowStatus(StrEnum):
    """The status of a workflow. `shown_as` is the status of a task that is drawn in the same way."""

    RUNNING = "RUNNING"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SUCCEEDED = "SUCCEEDED"

    @property
    def label(self) -> str:
        """The name for display."""
        return self.value.capitalize()

    @property
    def sentence(self) -> str:
        """The meaning, in one sentence for pages and the API's documentation."""
        return _SENTENCES[self]

    @property
    def shown_as(self) -> Status:
        """The task's status with the same color."""
        return _SHOWN_AS[self]


_SENTENCES: Final = {
    WorkflowStatus.RUNNING: "Some of its tasks have not ended.",
    WorkflowStatus.FAILED: "All of its tasks have ended, and one failed that was not run again.",
    WorkflowStatus.CANCELLED: "All of its tasks have ended, none failed, and some were cancelled.",
    WorkflowStatus.SUCCEEDED: "All of its tasks have ended, and what failed was run again.",
}
_SHOWN_AS: Final = {
    WorkflowStatus.RUNNING: Status.STARTED,
    WorkflowStatus.FAILED: Status.FAILURE,
    WorkflowStatus.CANCELLED: Status.REVOKED,
    WorkflowStatus.SUCCEEDED: Status.SUCCESS,
}


def status_of(counts: Mapping[Status, int], replayed: int) -> WorkflowStatus:
    """Return the status of a workflow with so many tasks by status; `replayed` of its failures were run again."""
    if any(counts.get(status) for status in OPEN):
        return WorkflowStatus.RUNNING
    failures = counts.get(Status.FAILURE, 0)
    if failures > replayed:
        return WorkflowStatus.FAILED
    # What a failure kept from running is revoked too.
    return WorkflowStatus.CANCELLED if counts.get(Status.REVOKED) and not failures else WorkflowStatus.SUCCEEDED
