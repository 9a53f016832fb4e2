"""Attached workers may have redis-py without hiredis: commands are the same, and so is text that is not valid Unicode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis.connection
import redis.utils

from zenith_worker.wire import client


@pytest.fixture(autouse=True)
def without_hiredis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clients that are made during the test write their commands without hiredis."""
    for module in (redis.utils, redis.connection):
        monkeypatch.setattr(module, "HIREDIS_AVAILABLE", False)
    client.shared_client.cache_clear()
    yield
    client.shared_client.cache_clear()


@pytest.mark.parametrize("id_", ["nightly", "Größe €", "half a pair: \ud800"], ids=ascii)
def test_any_text_is_written_as_with_hiredis(id_: str) -> None:
    raw = client.client()
    packer = raw.connection_pool.get_connection()._command_packer
    assert isinstance(packer, redis.connection.PythonRespSerializer)
    assert raw.set(f"without:{id_}", id_)
    assert raw.get(f"without:{id_}".encode("utf-8", "surrogatepass")) == id_.encode("utf-8", "surrogatepass")
