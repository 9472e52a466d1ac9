"""TLS: the contexts of clients and servers, errors about certificates in words, and the dates of certificates.

Every context requires TLS 1.2, a certificate of the server, and that it is for the host that was asked for; nothing
switches that off. ``ssl`` is imported by the functions that need it: what uses no TLS does not wait for it.
"""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from broker_mesos.errors import InvalidInput

if TYPE_CHECKING:
    import ssl

    from broker_mesos.core.api.health import CertificateReport

PROBE_SECONDS = 2.0
"""Timeout of a handshake that only reads a server's certificate, in seconds."""
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which ``ssl`` has no name."""
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64
"""Codes of OpenSSL for what is wrong with a certificate."""


class TlsFiles(NamedTuple):
    """The PEM files of the settings ``tls_ca``, ``tls_cert`` and ``tls_key``; empty if not given."""

    ca: str = ""
    """The authorities that are trusted, instead of those of the system."""
    cert: str = ""
    """The certificate to show to a server that requires one."""
    key: str = ""
    """Its private key, if it is not in the same file."""

    @property
    def authority(self) -> str:
        """The authorities that are trusted, for error texts."""
        return f"the CA in {self.ca}" if self.ca else "the authorities that this machine trusts"


NO_FILES = TlsFiles()


class ServerFiles(NamedTuple):
    """The PEM files of a server: its certificate, and its key unless that is in the same file."""

    cert: str
    key: str = ""


class ContextSource:
    """The context for the connections of one client. Files that have changed are read again for the next connection;
    reading those of the system takes too long for each one."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises InvalidInput for files that cannot be used."""
        self._files = files
        self._version = _version(files)
        self._context = client_context(files)

    def get(self) -> ssl.SSLContext:
        """The context for one connection. Raises OSError when a file cannot be used any more, as an attempt to connect
        may: the next attempt may succeed."""
        version = _version(self._files)
        if version != self._version:
            try:
                self._context = client_context(self._files)
            except InvalidInput as error:
                raise OSError(str(error)) from None
            self._version = version
        return self._context


def _version(files: TlsFiles) -> tuple[object, ...]:
    """A value that changes when one of the files does."""
    found: list[object] = []
    for path in filter(None, files):
        try:
            state = Path(path).stat()
        except OSError:
            found.append(None)
        else:
            found.append((state.st_ino, state.st_mtime_ns, state.st_size))
    return tuple(found)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """The context of a client. Raises InvalidInput, in one line that names the setting and the file, for a file that
    cannot be read or is not what it should be."""
    import ssl

    if files.ca:
        _readable(files.ca, "tls_ca")
        try:
            context = ssl.create_default_context(cafile=files.ca)
        except (ssl.SSLError, ValueError):
            raise InvalidInput(f"tls_ca: {files.ca} contains no certificate in PEM form: name the CA's file") from None
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    if files.key and not files.cert:
        raise InvalidInput(f"tls_key: {files.key} without a certificate: set tls_cert as well")
    if files.cert:
        _load_pair(context, files.cert, files.key, ("tls_cert", "tls_key"))
    return context


def server_context(files: ServerFiles) -> ssl.SSLContext:
    """The context of a server. Raises InvalidInput, in one line that names the flag and the file."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, files.cert, files.key, ("--cert", "--key"))
    return context


def reload_server(context: ssl.SSLContext, files: ServerFiles) -> None:
    """Read the files of a server again, for its next connections. Raises InvalidInput, and then changes nothing."""
    server_context(files)
    _load_pair(context, files.cert, files.key, ("--cert", "--key"))


def _load_pair(context: ssl.SSLContext, cert: str, key: str, names: tuple[str, str]) -> None:
    import ssl

    chain = _readable(cert, names[0])
    secret = _readable(key, names[1]) if key else chain
    key_name, key_file = (names[1], key) if key else (names[0], cert)
    if b"-----BEGIN CERTIFICATE" not in chain:
        raise InvalidInput(f"{names[0]}: {cert} contains no certificate in PEM form")
    if b"PRIVATE KEY-----" not in secret:
        raise InvalidInput(f"{key_name}: {key_file} contains no private key in PEM form")

    def password() -> str:
        raise InvalidInput(
            f"{key_name}: the key in {key_file} has a password: store it without one, readable by its user"
        )

    try:
        # Without a function of ours OpenSSL would ask the terminal.
        context.load_cert_chain(cert, key or None, password)
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise InvalidInput(f"{key_name}: the key in {key_file} is not that of the certificate in {cert}") from None
        raise InvalidInput(
            f"{names[0]}: {cert}, or the key in {key_file}, is damaged ({error.reason or 'not PEM'}): write it again"
        ) from None


def _readable(path: str, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{name}: cannot read {path}: {error.strerror}") from None


# -- errors ---------------------------------------------------------------------------------------------


def refusal(error: BaseException, files: TlsFiles, host: str, port: int) -> str | None:
    """What is wrong with a certificate, of the server or of this client, and what to do; None if the error is about
    something else. It may connect to the server once more, to read which dates and names its certificate has, and
    blocks for ``PROBE_SECONDS`` at most."""
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return _refused_server(error, files, host, port)
    return _client_refusal(error, files) if isinstance(error, ssl.SSLError) else None


def refusal_of_client(files: TlsFiles, host: str, port: int) -> str | None:
    """Whether a server that ended a connection did so because of this client's certificate, and what to do; None if
    not. With TLS 1.3 it does that after the handshake, and what the client has sent meanwhile may remove the server's
    reason. Blocks for ``PROBE_SECONDS`` at most."""
    import ssl

    try:
        with _handshake(host, port, client_context(files)) as connection:
            connection.settimeout(PROBE_SECONDS / 2)
            connection.recv(1)
    except ssl.SSLError as error:
        return _client_refusal(error, files)
    except (OSError, InvalidInput):
        pass
    return None


def _client_refusal(error: ssl.SSLError, files: TlsFiles) -> str | None:
    reason = str(error.reason or "")
    if "ALERT" not in reason:
        return None
    if "CERTIFICATE_REQUIRED" in reason or ("HANDSHAKE_FAILURE" in reason and not files.cert):
        return "it requires a certificate of this client: set tls_cert and tls_key"
    if any(word in reason for word in ("UNKNOWN_CA", "CERTIFICATE", "ACCESS_DENIED")):
        own = (
            f"the certificate in {files.cert} (tls_cert)" if files.cert else "a client without a certificate (tls_cert)"
        )
        return f"it refuses {own}: {_words(reason)}"
    return None


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")


def _refused_server(error: ssl.SSLCertVerificationError, files: TlsFiles, host: str, port: int) -> str:
    checked = f"checked for {host} against {files.authority}"
    code = error.verify_code
    peer = _peer(files, host, port) if code in (_EXPIRED, _NOT_YET_VALID, _OTHER_NAME, _OTHER_ADDRESS) else None
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        names = f"for {', '.join(peer.names)}" if peer and peer.names else "for other names"
        return (
            f"its certificate is {names}, not for {host} (checked against {files.authority}): use one of its names in "
            f"the URL, or have a certificate issued for {host}"
        )
    if code in (_EXPIRED, _NOT_YET_VALID):
        ended = code == _EXPIRED
        what, when = "its certificate", None
        if peer is not None:
            when = peer.not_after if ended else peer.not_before
            if (time.time() <= when) if ended else (time.time() >= when):
                # The one of the server is good, so that it is the one that signed it.
                what, when = files.authority, _authority_date(files, ended=ended)
        date = "" if when is None else f" {'on' if ended else 'before'} {date_text(when)}"
        clock = f"this machine's clock shows {date_text(time.time())}"
        if ended:
            return f"{what} expired{date} ({checked}; {clock}): renew it"
        return f"{what} is not valid{date or ' yet'} ({checked}; {clock}): set the clock that is wrong"
    advice = (
        "have the server's certificate signed by that CA, or name the right one with tls_ca"
        if files.ca
        else "name the CA's file with tls_ca (BMESOS_TLS_CA)"
    )
    return f"its certificate is not trusted: {error.verify_message} ({checked}): {advice}"


def _authority_date(files: TlsFiles, *, ended: bool) -> float | None:
    dates = _file_dates(files.ca) if files.ca else []
    if not dates:
        return None
    return min(end for _, end in dates) if ended else max(begin for begin, _ in dates)


# -- dates ----------------------------------------------------------------------------------------------


class Peer(NamedTuple):
    """What a server's certificate contains; times are in seconds since the epoch."""

    not_before: float
    not_after: float
    names: tuple[str, ...]


def certificates(files: TlsFiles, host: str, port: int, server: str) -> tuple[CertificateReport, ...]:
    """The certificates that connections to a server depend on; ``server`` is its name for people. What cannot be read
    is left out. Blocks for ``PROBE_SECONDS`` at most."""
    from broker_mesos.core.api.health import CertificateReport

    ends = {
        f"{path} ({name})": file_end(path) for name, path in (("tls_ca", files.ca), ("tls_cert", files.cert)) if path
    }
    peer = _peer(files, host, port)
    ends[f"the certificate of {server}"] = None if peer is None else peer.not_after
    now = time.time()
    return tuple(
        CertificateReport(name=name, ends=end, left=end - now) for name, end in ends.items() if end is not None
    )


def file_end(path: str) -> float | None:
    """When the first certificate of a PEM file ends, in seconds since the epoch; None if it has none."""
    try:
        return min((end for _, end in _file_dates(path)), default=None)
    except OSError:
        return None


def date_text(seconds: float) -> str:
    """A time, for texts."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _peer(files: TlsFiles, host: str, port: int) -> Peer | None:
    """The certificate of a server, if a trusted authority has signed it, whatever its dates and names are."""
    import ssl

    try:
        context = client_context(files)
        context.check_hostname = False
        context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
        with _handshake(host, port, context) as connection:
            content: Any = connection.getpeercert() or {}
            begin, end = validity(connection.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError, InvalidInput):
        return None
    return Peer(begin, end, tuple(dict.fromkeys(str(name) for _, name in content.get("subjectAltName", ()))))


def _handshake(host: str, port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection to a server after the handshake."""
    plain = socket.create_connection((host, port), PROBE_SECONDS / 2)
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _file_dates(path: str) -> list[tuple[float, float]]:
    import ssl

    dates = []
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    for part in Path(path).read_text(encoding="utf-8", errors="replace").split(begin)[1:]:
        try:
            dates.append(validity(ssl.PEM_cert_to_DER_cert(begin + part.partition(end)[0] + end)))
        except ValueError:
            continue
    return dates


def validity(der: bytes) -> tuple[float, float]:
    """From when and until when a certificate is valid, in seconds since the epoch. Raises ValueError if it is none.

    ``ssl`` shows these dates for a certificate of the other end only, and not for the one in a file.
    """
    try:
        _, at, _ = _element(der, 0)  # Certificate
        _, at, _ = _element(der, at)  # TBSCertificate
        tag, _, end = _element(der, at)
        if tag == 0xA0:  # the version, which the oldest certificates do not have
            _, _, end = _element(der, end)
        for _ in range(2):  # after the serial number: the algorithm and the issuer
            _, _, end = _element(der, end)
        _, at, _ = _element(der, end)
        first, at_first, end_first = _element(der, at)
        second, at_second, end_second = _element(der, end_first)
        return _time(first, der[at_first:end_first]), _time(second, der[at_second:end_second])
    except IndexError:
        raise ValueError("no certificate") from None


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, begin and end of the content of the DER element at ``at``."""
    tag, length, begin = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(data[begin : begin + size], "big"), begin + size
    return tag, begin, begin + length


def _time(tag: int, text: bytes) -> float:
    written = text.decode("ascii")
    if tag == 0x17:  # two digits of the year, from 1950 to 2049
        written = ("19" if written >= "50" else "20") + written
    return datetime.strptime(written, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
