"""One HTTP request of a daemon to another server, and errors about it in words."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

from broker_mesos.errors import Unavailable
from broker_mesos.runtime.tls import TlsFiles, client_context, refusal
from broker_mesos.runtime.urls import endpoint

ANSWER_MAX_BYTES = 1 << 20
"""Maximum size of an answer, in bytes."""


class CertificateRefused(Unavailable):
    """A certificate was refused, of the server or of this client: another attempt is of no use until it is changed."""


class Reply(NamedTuple):
    """The answer of a server."""

    status: int
    body: bytes


def call(
    url: str,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
    tls: TlsFiles,
    timeout: float,
) -> Reply:
    """Send one request to the server that an ``http`` or ``https`` URL names, and return its answer. Blocks for about
    ``timeout`` seconds at most; follows no redirect, and uses no proxy. Raises Unavailable, in one line with the
    server's address, if there is no answer, and InvalidInput for files that cannot be used for TLS."""
    parts = urlsplit(url)
    host, where = parts.hostname or "127.0.0.1", endpoint(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    deadline = time.monotonic() + timeout
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=client_context(tls))
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request(method, parts.path.rstrip("/") + path, body, dict(headers))
        response = connection.getresponse()
        received = bytearray()
        while chunk := response.read1(65_536):
            received += chunk
            if len(received) > ANSWER_MAX_BYTES:
                raise Unavailable(
                    f"{where} sent an answer of more than {ANSWER_MAX_BYTES} bytes: is it another server?"
                )
            if time.monotonic() > deadline:
                raise TimeoutError
        if response.length:
            raise http.client.IncompleteRead(b"")
        return Reply(response.status, bytes(received))
    except TimeoutError:
        raise Unavailable(f"{where} did not answer within {timeout:g} s: check that it runs") from None
    except ConnectionRefusedError:
        raise Unavailable(f"nothing listens at {where}: check that it runs, and the URL") from None
    except (socket.gaierror, UnicodeError):
        raise Unavailable(f"{where}: no such host: check the URL") from None
    except ssl.SSLError as error:
        if (text := refusal(error, tls, host, port)) is not None:
            raise CertificateRefused(f"{where}: {text}") from None
        raise Unavailable(
            f"{where} does not use TLS at this port ({error.reason or 'handshake failed'}): write http:// for this "
            "port, or name the port for TLS"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        # Not the text of the latter: it may be what the server has sent.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise Unavailable(f"cannot reach {where} ({reason}): check that it runs, and the URL") from None
    finally:
        connection.close()
