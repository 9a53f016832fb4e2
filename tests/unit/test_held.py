"""Which held requests a worker reports."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from zenith_worker import held
from zenith_worker.carried import Carried


@pytest.mark.parametrize(
    ("received", "held_for", "reported"),
    [(-0.1, 0.0, True), (-0.1, 0.5, False), (-0.6, 0.5, True), (3600, 0.0, True), (3600, 0.5, True), (None, 0.5, True)],
)
def test_a_request_is_reported_once_it_is_held_for_so_long_whatever_the_clock_did(
    monkeypatch: pytest.MonkeyPatch, received: float | None, held_for: float, reported: bool
) -> None:
    at = None if received is None else time.time() + received
    request = SimpleNamespace(eta=None, time_start=None, request_dict={}, zenith_carried=Carried(received_at=at))
    monkeypatch.setattr(held.worker_state, "reserved_requests", [request])
    assert held.unreported(held_for) == ([request] if reported else [])
    held.note_reported([request])
    assert held.unreported(held_for) == []
