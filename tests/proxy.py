"""A real nginx that ends TLS in front of a web process, as docs/deploy.md configures it."""

from __future__ import annotations

import datetime
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.processes import exec_with_parent, listens
from tests.programs import program
from tests.waiting import eventually

CONFIG = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  ssl_certificate {directory}/certificate.pem;
  ssl_certificate_key {directory}/key.pem;
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
  server {{
    listen 127.0.0.1:{port} ssl;
    location {path}/ {{ proxy_pass http://127.0.0.1:{web}; }}
    location /stripped{path}/ {{ proxy_pass http://127.0.0.1:{web}/; }}
  }}
}}
"""


@contextmanager
def nginx(directory: Path, port: int, web: int, path: str) -> Iterator[ssl.SSLContext]:
    """Run nginx at `https://localhost:PORT/PATH/` in front of a web process' port; yield what trusts its certificate.

    Below `/stripped` it takes the path off before it passes a request on.
    """
    certificate = certify(directory)
    config = directory / "nginx.conf"
    config.write_text(CONFIG.format(directory=directory, port=port, web=web, path=path))
    log = directory / "nginx.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            exec_with_parent(program("nginx"), "-c", str(config), "-p", str(directory)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: process.poll() is not None or listens(port), but=log.read_text)
        assert process.poll() is None, log.read_text()
        yield ssl.create_default_context(cafile=certificate)
    finally:
        process.terminate()
        process.wait(30)


def certify(directory: Path) -> Path:
    """Write a certificate for localhost and its key; return the certificate's place."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    written = directory / "certificate.pem"
    written.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    return written
