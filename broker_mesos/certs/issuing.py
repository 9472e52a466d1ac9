"""Makes certificates. This is the only module that knows ``cryptography``, which the extra ``certs`` installs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from broker_mesos.errors import BrokerMesosError, InvalidInput

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    raise BrokerMesosError(
        "`bmesos certs` needs the package cryptography: pip install 'broker-mesos[certs]', or pip install cryptography"
    ) from None

LEAF_DAYS = 90
"""For how long the certificate of a service is valid, in days."""
AUTHORITY_DAYS = 1825
"""For how long that of a CA is, in days."""
_EARLIER = timedelta(hours=1)
"""How long before now a certificate is valid: the clocks of other machines may be behind."""
_DNS_NAME = re.compile(
    r"(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*", re.IGNORECASE
)


class Pair(NamedTuple):
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: Any

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM form."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key in PEM form, without a password."""
        return bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The host names and addresses that the certificate is for."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        return tuple(str(name.value) for name in found)

    @property
    def ends(self) -> float:
        """The end of its validity, in seconds since the epoch."""
        return self.certificate.not_valid_after_utc.timestamp()


def read_pair(certificate: bytes, key: bytes) -> Pair:
    """A certificate and its key from PEM. Raises ValueError, with what is wrong."""
    try:
        made = Pair(x509.load_pem_x509_certificate(certificate), serialization.load_pem_private_key(key, None))
    except TypeError:
        raise ValueError("the key has a password") from None
    if made.certificate.public_key() != made.key.public_key():
        raise ValueError("the key is not that of the certificate")
    return made


def make_authority(name: str, days: int = AUTHORITY_DAYS, key: Any = None) -> Pair:
    """A CA with a key of its own, or with the one that is given: certificates that this key has signed stay valid."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _begin(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def authority_name(authority: Pair) -> str:
    """The common name of a CA."""
    return str(authority.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def issue(authority: Pair, name: str, names: Sequence[str], days: int = LEAF_DAYS, key: Any = None) -> Pair:
    """The certificate of a service for host names and addresses, for servers and clients alike; with a new key unless
    one is given. Raises InvalidInput for a name that is none, and for a CA that ends before the certificate would."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    if authority.ends < (datetime.now(UTC) + timedelta(days=days)).timestamp():
        raise InvalidInput(
            f"the CA ends on {authority.certificate.not_valid_after_utc:%Y-%m-%d}, before a certificate of {days} days "
            "would: renew it first (`bmesos certs renew ca`), or give fewer --days"
        )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = authority.certificate
    builder = (
        _begin(subject, issuer.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([_general_name(each) for each in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def is_signed_by(pair: Pair, authority: Pair) -> bool:
    """Whether a CA has signed a certificate."""
    try:
        pair.certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _begin(subject: x509.Name, issuer: x509.Name, public_key: Any, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        pass
    if len(text) > 253 or not _DNS_NAME.fullmatch(text) or re.fullmatch(r"[0-9.]+", text):
        raise InvalidInput(
            f"--san {text[:80]!r} is no host name or IP address: write rabbitmq, *.example.org or 10.0.0.5"
        )
    return x509.DNSName(text.lower())
