"""Connect to an engine by its socket, by TLS with client certificates, and through the system's ssh."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from queue import Queue

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra_app.errors import EngineUnreachableError
from infra_app.gateway import Connection, Engine, Tls
from tests.docker.lab import FIRST_ENGINE
from tests.docker.relay import copy
from tests.processes import free_port

SOCKET = FIRST_ENGINE.removeprefix("unix://")


def certificate(
    directory: Path, name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None = None
) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
    """Write NAME.pem and NAME-key.pem, signed by the issuer or self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing = issuer or (subject, key)
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(signer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - hour).not_valid_after(now + hour)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )  # fmt: skip
    (directory / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / f"{name}-key.pem").write_bytes(key.private_bytes(*plain))
    return subject, key


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The engine behind TLS that requires a client certificate; yields its address."""
    authority = certificate(tmp_path, "ca")
    for name in ("server", "client"):
        certificate(tmp_path, name, authority)
    certificate(tmp_path, "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server-key.pem")
    context.load_verify_locations(tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    port = free_port()
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_unix_connection(SOCKET)
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    async def serve() -> None:
        server = await asyncio.start_server(passed_on, "127.0.0.1", port, ssl=context)
        started.set()
        with suppress(asyncio.CancelledError):
            await server.serve_forever()

    serving = loop.create_task(serve())
    thread = threading.Thread(target=lambda: loop.run_until_complete(serving))
    thread.start()
    assert started.wait(10)
    yield f"tcp://127.0.0.1:{port}"
    loop.call_soon_threadsafe(serving.cancel)
    thread.join(10)
    loop.close()


def version(connection: Connection) -> str:
    try:
        return Engine(connection).info().version
    finally:
        connection.close()


def ends_from_another_thread(connection: Connection) -> None:
    """Follow the engine's events, and close the stream."""
    opened: Queue[Callable[[], None]] = Queue()
    thread = threading.Thread(target=lambda: list(Engine(connection).events(opened.put)))
    thread.start()
    opened.get(timeout=20)()
    thread.join(10)
    assert not thread.is_alive()
    connection.close()


def test_by_tls_with_a_certificate_that_the_engine_knows(guarded: str, tmp_path: Path) -> None:
    known = Tls(str(tmp_path / "ca.pem"), str(tmp_path / "client.pem"), str(tmp_path / "client-key.pem"))
    assert version(Connection(guarded, known)) == version(Connection(FIRST_ENGINE))
    stranger = Tls(str(tmp_path / "ca.pem"), str(tmp_path / "stranger.pem"), str(tmp_path / "stranger-key.pem"))
    with pytest.raises(EngineUnreachableError):
        version(Connection(guarded, stranger))
    elsewhere = Tls(str(tmp_path / "stranger.pem"), str(tmp_path / "client.pem"), str(tmp_path / "client-key.pem"))
    with pytest.raises(EngineUnreachableError):
        version(Connection(guarded, elsewhere))


def test_through_the_systems_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake ssh that runs its command on this machine."""
    told = tmp_path / "told"
    stand_in = tmp_path / "ssh"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {told}\nexec docker system dial-stdio\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert version(Connection("ssh://docker@build-2")) == version(Connection(FIRST_ENGINE))
    assert told.read_text().strip() == "-l docker -p 22 -- build-2 docker system dial-stdio"
    ends_from_another_thread(Connection("ssh://docker@build-2"))


def test_a_stream_ends_when_it_is_closed() -> None:
    ends_from_another_thread(Connection(FIRST_ENGINE))


def test_an_engine_that_does_not_answer_says_which_and_why() -> None:
    with pytest.raises(
        EngineUnreachableError, match=r"The Docker Engine at tcp://127\.0\.0\.1:1 does not answer: Connection refused"
    ):
        version(Connection("tcp://127.0.0.1:1"))
