"""Certificates for tests: good ones as ``bmesos certs`` makes them, and the ones that it does not make."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.x509 import CertificateBuilder

from broker_mesos.certs.folder import Folder
from broker_mesos.certs.issuing import Pair
from tests.tls_servers import TlsFiles


class Certificates(NamedTuple):
    """A folder with a CA, and certificates of ``localhost`` with one flaw each."""

    folder: Folder

    def path(self, name: str) -> Path:
        """A file of the folder, as ``ca.crt``."""
        return self.folder.path / name

    def files(self, name: str = "localhost") -> TlsFiles:
        """What a server with this certificate reads."""
        return TlsFiles(self.path("ca.crt"), self.path(f"{name}.crt"), self.path(f"{name}.key"))


def make_certificates(path: Path) -> Certificates:
    """A CA in ``path``, and one that signed nothing in ``path/other``; the certificates ``localhost``, ``expired``,
    ``early`` (not valid yet), ``soon`` (ends within 5 days) and ``client``."""
    folder = Folder(path)
    folder.make_authority()
    Folder(path / "other").make_authority()
    now = datetime.now(UTC)
    for name in ("localhost", "client"):
        folder.issue(name, [])
    good = folder.read("localhost")
    authority = folder.read("ca")
    for name, begin, end in (
        ("expired", now - timedelta(days=91), now - timedelta(days=1)),
        ("early", now + timedelta(days=1), now + timedelta(days=91)),
        ("soon", now - timedelta(days=85), now + timedelta(days=5)),
    ):
        write(path, name, dated(good, authority, begin, end))
    # The same CA, as it was before it was renewed.
    write(path, "old-ca", dated(authority, authority, now - timedelta(days=91), now - timedelta(days=1)))
    return Certificates(folder)


def dated(pair: Pair, authority: Pair, begin: datetime, end: datetime) -> Pair:
    """The same certificate with other dates."""
    old = pair.certificate
    builder = CertificateBuilder(
        issuer_name=old.issuer,
        subject_name=old.subject,
        public_key=old.public_key(),
        serial_number=old.serial_number + 1,
        not_valid_before=begin.replace(microsecond=0, tzinfo=None),
        not_valid_after=end.replace(microsecond=0, tzinfo=None),
        extensions=list(old.extensions),
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), pair.key)


def write(path: Path, name: str, pair: Pair) -> None:
    (path / f"{name}.crt").write_bytes(pair.certificate_pem)
    (path / f"{name}.key").write_bytes(pair.key_pem)
