"""The address of the broker, the timeouts for it, and error texts for users."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pika
from pika.exceptions import ChannelClosed

from broker_mesos.errors import BusUnavailable, InvalidInput
from broker_mesos.runtime.tls import NO_FILES, ContextSource, TlsFiles, certificates, refusal, refusal_of_client
from broker_mesos.runtime.urls import check_url

if TYPE_CHECKING:
    from broker_mesos.core.api.health import CertificateReport


class Timeouts(NamedTuple):
    """Timeouts of the bus for the broker, in seconds."""

    handshake: float = 5.0
    """Timeout from the TCP connect to an open connection: a paused broker accepts a connection and then sends
    nothing."""
    call: float = 10.0
    """Timeout for the answer to one method on a channel, such as a declaration."""
    blocked: float = 15.0
    """Time that an alarm of the broker may last before pending messages fail, and every new one until its end."""
    confirm: float = 30.0
    """Timeout for the confirm of the oldest message, after which the publishing connection is closed (a quorum queue
    may have lost its quorum)."""
    close: float = 2.0
    """Timeout for closing a channel or a connection in order; after it the connection is dropped."""
    in_use: float | None = None
    """Time for which another process may consume a queue that allows only one consumer; None means longer than the
    broker needs to notice that a connection is dead (three AMQP heartbeats and 5 s more)."""
    bindings: float = 10.0
    """Minimum pause, and half of the maximum one, after which queues that are consumed or were declared are bound
    again: the broker does not notify processes when an exchange or a binding is deleted."""


DEFAULT_TIMEOUTS = Timeouts()


class Refused(BusUnavailable):
    """The broker has closed the channel because of a call, with this AMQP code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(BusUnavailable):
    """No connection could be made at all: no process listens there, or the network is down."""


class AccessRefused(BusUnavailable):
    """Credentials, the vhost or a certificate are wrong: a further attempt is of no use to a caller that waits."""


class UserRefused(AccessRefused):
    """The broker has no such user, or the password is wrong."""


class CertificateRefused(AccessRefused):
    """A certificate was refused, of the server or of this client; ``cause`` is the error of TLS."""

    def __init__(self, message: str, cause: ssl.SSLError) -> None:
        super().__init__(message)
        self.cause = cause


class EndedEarly(BusUnavailable):
    """The server ended the connection before it was open."""


class Server:
    """The address of the broker, and the texts of errors about it, which never contain a password."""

    def __init__(self, url: str, tls: TlsFiles = NO_FILES) -> None:
        """Raises InvalidInput for a URL or for files of ``tls`` that cannot be used."""
        url = _checked(url)
        self._tls = tls
        self._contexts = ContextSource(tls) if url.startswith("amqps:") else None
        # For amqps: pika reads the authorities of the system each time, which takes 20 ms, and which are not ours.
        url = url.replace("amqps:", "amqp:", 1)
        try:
            parameters = pika.URLParameters(url)
            self.host = str(parameters.host)
            self.port = int(parameters.port)
            if self._contexts is not None and urlsplit(url).port is None:
                self.port = parameters.DEFAULT_SSL_PORT
            self.vhost = str(parameters.virtual_host)
            self.user = str(getattr(parameters.credentials, "username", ""))
        except Exception:  # its text may contain the URL
            raise InvalidInput(
                f"an AMQP URL with an option that RabbitMQ's client does not have, or a wrong value: write {_EXAMPLE}"
            ) from None
        self._url = url
        self.where = f"RabbitMQ at {self.host}:{self.port}, vhost {self.vhost!r}"

    def parameters(self, name: str, heartbeat: int, timeouts: Timeouts) -> pika.URLParameters:
        """pika's parameters for one connection attempt, which pika must not repeat. Raises BusUnavailable when a file
        for TLS cannot be used any more."""
        parameters = pika.URLParameters(self._url)
        parameters.port = self.port
        if self._contexts is not None:
            try:
                parameters.ssl_options = pika.SSLOptions(self._contexts.get(), self.host)
            except OSError as error:
                raise BusUnavailable(f"{self.where}: {error}") from None
        parameters.heartbeat = heartbeat
        parameters.blocked_connection_timeout = None
        parameters.connection_attempts = 1
        parameters.socket_timeout = timeouts.handshake
        parameters.stack_timeout = timeouts.handshake
        parameters.client_properties = {"connection_name": name, "product": "broker_mesos"}
        return parameters

    async def explained(self, error: BusUnavailable) -> BusUnavailable:
        """The error for an attempt to connect. If a certificate was the reason, its dates and names are read from the
        server; else it is the same error."""
        text = None
        if isinstance(error, CertificateRefused):
            text = await asyncio.to_thread(refusal, error.cause, self._tls, self.host, self.port)
        elif isinstance(error, EndedEarly) and self._contexts is not None:
            text = await asyncio.to_thread(refusal_of_client, self._tls, self.host, self.port)
        return error if text is None else AccessRefused(f"{self.where}: {text}")

    async def certificates(self) -> tuple[CertificateReport, ...]:
        """The certificates that connections to the broker depend on; none without TLS."""
        if self._contexts is None:
            return ()
        name = f"RabbitMQ at {self.host}:{self.port}"
        return await asyncio.to_thread(certificates, self._tls, self.host, self.port, name)

    def _tls_error(self, error: ssl.SSLError) -> BusUnavailable:
        reason = str(error.reason or "")
        if isinstance(error, ssl.SSLCertVerificationError) or "ALERT" in reason:
            return CertificateRefused(f"{self.where}: the handshake of TLS failed ({reason})", error)
        return Unreachable(
            f"{self.where} does not use TLS at this port ({error.reason or 'handshake failed'}): "
            "write amqp:// for this port, or name the port for TLS (5671)"
        )

    def _advice(self, code: int) -> str:
        if code != 403:
            return ""
        return (
            f"; the user {self.user!r} needs the permissions configure, write and read on it "
            f"(rabbitmqctl list_permissions -p {self.vhost})"
        )

    @property
    def no_answer(self) -> BusUnavailable:
        """The error for a server that neither refuses a connection nor answers."""
        return BusUnavailable(
            f"{self.where} does not answer: check whether it is paused, overloaded or cut off, or that port is of "
            "another server (rabbitmq-diagnostics ping)"
        )

    def error(self, error: BaseException, *, connecting: bool = False) -> BusUnavailable:
        """The error for users that corresponds to an exception of pika's or of the system's; ``connecting`` states
        that it ended an attempt to connect."""
        for cause in _causes(error):
            if isinstance(cause, ChannelClosed):
                return Refused(f"{self.where}: {cause.reply_text}{self._advice(cause.reply_code)}", cause.reply_code)
            if isinstance(cause, ssl.SSLError):
                return self._tls_error(cause)
            if isinstance(cause, OSError) and (cause.strerror or str(cause)):
                return Unreachable(
                    f"{self.where} cannot be reached ({cause.strerror or cause}): check that it runs, and the AMQP URL"
                )
        # pika wraps the broker's error during the handshake into the text of another exception. Without a code, the
        # same exceptions only mean that the connection to the broker was lost during the attempt.
        text = repr(error)
        if "IncompatibleProtocolError" in text:
            return EndedEarly(
                f"{self.where} does not use AMQP: check that the port is RabbitMQ's, and whether it is the port "
                "for TLS (amqps://)"
            )
        if "ConnectionClosedByBroker: (403)" in text:
            return UserRefused(f"{self.where} refused the user {self.user!r}: check user and password in the AMQP URL")
        if "ConnectionClosedByBroker: (530)" in text:
            return AccessRefused(
                f"{self.where}: there is no such vhost, or the user {self.user!r} may not use it: "
                "create it (rabbitmqctl add_vhost, set_permissions) or name another one in the AMQP URL"
            )
        if "Timeout" in text:
            return self.no_answer
        if connecting:
            return EndedEarly(
                f"{self.where} ended the connection before it was open ({_short(error)}): check whether that is "
                "the port for TLS (amqps://), or another server's"
            )
        return BusUnavailable(f"{self.where}: the connection was lost ({_short(error)})")


_EXAMPLE = "amqp://user:password@host:5672/vhost, or amqps:// for TLS"


def _checked(url: str) -> str:
    """The URL with defaults filled in, as pika reads it. Raises InvalidInput, without any part of a password."""
    try:
        url = check_url(url, ("amqp", "amqps"), _EXAMPLE)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    parts = urlsplit(url)
    if parts.username is not None and parts.password is None:
        raise InvalidInput(f"an AMQP URL with a user and no password: write {_EXAMPLE}")
    if parts.path == "//":  # the form in which Celery writes the vhost /
        url = parts._replace(path="/%2F").geturl()
    elif "/" in parts.path.removeprefix("/"):
        raise InvalidInput(f"a vhost with / in it: write it as %2F in the AMQP URL, as in {_EXAMPLE}")
    return url


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that pika has wrapped into it, outermost first."""
    found: list[object] = [error]
    for each in found:
        if isinstance(each, BaseException):
            yield each
            nested = [*getattr(each, "exceptions", ()), getattr(each, "exception", None), *each.args]
            found += [cause for cause in nested if not any(cause is known for known in found)]


def _short(error: BaseException) -> str:
    text = getattr(error, "reply_text", "") or str(error) or type(error).__name__
    return str(text).splitlines()[0][:200]
