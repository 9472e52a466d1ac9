"""The client's transport over HTTP.

``http.client`` takes longer to import than a submitted job takes to run, most of it for the parsers of
electronic mail. The few lines of HTTP/1.1 that a JSON API needs stand here instead.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from broker_mesos.client.transport import (
    ANSWER_MARGIN_SECONDS,
    CLUSTER_HEADER,
    NEXT_STEP,
    REQUEST_MAX_BYTES,
    TIMEOUT_HEADER,
    Unreachable,
)
from broker_mesos.errors import InvalidInput, TimedOut, Unavailable, error_of

if TYPE_CHECKING:
    import ssl

    from broker_mesos.runtime.tls import TlsFiles

HEAD_MAX_BYTES = 65_536
ANSWER_MAX_BYTES = 256 << 20


class HttpTransport:
    """Keeps idle connections, and takes a fresh one when the far end has closed an idle one."""

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        *,
        tls: TlsFiles | None = None,
        cluster: str | None = None,
        token: str = "",
    ) -> None:
        """``cluster`` is the name of the cluster that is meant, which refuses requests if it has another one. ``token``
        shows the server who this is. With ``tls`` connections are encrypted. Raises InvalidInput for a text that cannot
        be a token, and for files that cannot be used."""
        self._host = host
        self._port = port
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            from broker_mesos.runtime.tls import client_context

            self._context = client_context(tls)
        path = path.strip("/")
        self._where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        named = "" if cluster is None else f"{CLUSTER_HEADER}: {cluster}\r\n"
        if token:
            if not token.isascii() or not token.isprintable() or " " in token:
                # Not quoted: it may be most of a token.
                raise InvalidInput("BMESOS_TOKEN is not a token: it begins with bm1_ and has no blanks")
            named += f"Authorization: Bearer {token}\r\n"
        self._head = (
            f"POST {'/' * bool(path)}{path}/api/v1 HTTP/1.1\r\nHost: {self._where}\r\n"
            f"Content-Type: application/json\r\n{named}{TIMEOUT_HEADER}: "
        )
        # Shared between threads without a lock: taking and adding one are atomic.
        self._idle: list[_Connection] = []

    def call(self, kind: str, fields: Mapping[str, Any], timeout: float, held: float) -> Any:
        """See :class:`Transport`."""
        data = json.dumps({"type": kind, **fields}).encode()
        if len(data) > REQUEST_MAX_BYTES:
            raise InvalidInput(f"{kind} has {len(data)} bytes; at most {REQUEST_MAX_BYTES} are allowed")
        limit = timeout + held + ANSWER_MARGIN_SECONDS
        return self._decode(*self._exchange(data, timeout, limit))

    def close(self) -> None:
        """See :class:`Transport`."""
        while (connection := self._take()) is not None:
            connection.close()

    def _exchange(self, data: bytes, timeout: float, limit: float) -> tuple[int, bytes]:
        message = f"{self._head}{timeout:g}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
        while True:
            reused = self._take()
            connection = reused or self._connect(timeout)
            try:
                status, answer = connection.exchange(message, limit)
            except TimeoutError:
                connection.close()
                raise TimedOut(f"{self._where} did not answer within {limit:g} s; try again") from None
            except (OSError, EOFError) as error:
                connection.close()
                # Closed while idle: the request, harmless when repeated, goes over a new connection.
                if reused is not None and not connection.answering:
                    continue
                # With TLS 1.3 a server refuses the certificate of a client when that sends its first request.
                if isinstance(error, OSError) and (refused := self._refusal(error)) is not None:
                    raise refused from None
                raise Unavailable(f"lost the connection to {self._where} ({why(error)}); try again") from None
            except ValueError:
                connection.close()
                raise self._foreign("something else than HTTP") from None
            except BaseException:
                connection.close()  # interrupted half-way: its answer must not reach the next request
                raise
            if connection.reusable:
                self._idle.append(connection)
            else:
                connection.close()
            return status, answer

    def _take(self) -> _Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _connect(self, timeout: float) -> _Connection:
        try:
            # As bytes where that is possible: text goes through tables of Unicode that take time to load.
            host: Any = self._host.encode() if self._host.isascii() else self._host
            plain = socket.create_connection((host, self._port), timeout)
            return _Connection(plain if self._context is None else self._encrypt(plain, self._context))
        except TimeoutError:
            raise Unreachable(f"{self._where} does not answer; {NEXT_STEP}") from None
        except ConnectionRefusedError:
            raise Unreachable(f"nothing listens at {self._where}; {NEXT_STEP}") from None
        except (socket.gaierror, UnicodeError):
            raise Unreachable(f"{self._where}: no such host; {NEXT_STEP}") from None
        except OSError as error:
            raise Unreachable(f"cannot reach {self._where} ({why(error)}); {NEXT_STEP}") from None

    def _encrypt(self, plain: socket.socket, context: ssl.SSLContext) -> socket.socket:
        import ssl

        try:
            return context.wrap_socket(plain, server_hostname=self._host)
        except ssl.SSLError as error:
            plain.close()
            if (refused := self._refusal(error)) is not None:
                raise refused from None
            raise Unreachable(
                f"{self._where} does not use TLS at this port ({error.reason or 'handshake failed'}): write http:// "
                "for this port, or name the port for TLS"
            ) from None
        except BaseException:
            plain.close()
            raise

    def _refusal(self, error: OSError) -> Unreachable | None:
        """The error for a certificate that was refused; None for any other error."""
        if self._tls is None:
            return None
        from broker_mesos.runtime.tls import refusal

        text = refusal(error, self._tls, self._host, self._port)
        return None if text is None else Unreachable(f"{self._where}: {text}")

    def _decode(self, status: int, answer: bytes) -> Any:
        try:
            content: Any = json.loads(answer)
            if status == 200:
                return content["data"]
            error = content["error"]
            code, message = str(error["code"]), str(error["message"])
        except (ValueError, LookupError, TypeError, RecursionError):
            raise self._foreign(f"HTTP status {status}") from None
        raise error_of(code, message)

    def _foreign(self, what: str) -> Unavailable:
        return Unavailable(
            f"{self._where} does not speak the operator API ({what}); "
            "is another program on that port? Name the cluster with --url or BMESOS_URL"
        )


class _Connection:
    """One connection. After an exchange it can be used for another one if ``reusable``."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._buffer = b""
        self._deadline = 0.0
        self.answering = False
        """Whether anything of the answer has arrived."""
        self.reusable = False

    def exchange(self, message: bytes, limit: float) -> tuple[int, bytes]:
        """Status and body of the answer, within ``limit`` seconds. Raises OSError, EOFError if the far end
        hangs up, and ValueError if it does not speak HTTP/1."""
        self._deadline = time.monotonic() + limit
        self._buffer, self.answering, self.reusable = b"", False, False
        self._socket.settimeout(limit)
        self._socket.sendall(message)
        status = 100
        while 100 <= status < 200:  # interim answers say nothing
            head = self._until(b"\r\n\r\n", HEAD_MAX_BYTES)
            first, *lines = head.decode("latin-1").split("\r\n")
            version, _, rest = first.partition(" ")
            if not version.startswith("HTTP/1."):
                raise ValueError(version)
            status = int(rest[:3])
        headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
        connection = headers.get("connection", "").lower()
        self.reusable = version == "HTTP/1.1" and "close" not in connection
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return status, self._chunks()
        if "content-length" in headers:
            return status, self._exactly(int(headers["content-length"]))
        self.reusable = False
        return status, self._rest()

    def close(self) -> None:
        """Disconnect. Idempotent."""
        self._socket.close()

    def _receive(self) -> bytes:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        received = self._socket.recv(1 << 18)
        self.answering = self.answering or bool(received)
        return received

    def _until(self, end: bytes, at_most: int) -> bytes:
        while end not in self._buffer:
            received = self._receive()
            if not received:
                raise EOFError("it hung up")
            self._buffer += received
            if len(self._buffer) > at_most and end not in self._buffer[:at_most]:
                raise ValueError("too long")
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _exactly(self, length: int) -> bytes:
        if not 0 <= length <= ANSWER_MAX_BYTES:
            raise ValueError(length)
        parts, size = [self._buffer], len(self._buffer)
        while size < length:
            received = self._receive()
            if not received:
                raise EOFError("it hung up")
            parts.append(received)
            size += len(received)
        whole = b"".join(parts)
        self._buffer = whole[length:]
        return whole[:length]

    def _chunks(self) -> bytes:
        found, size = [], 0
        while length := int(self._until(b"\r\n", HEAD_MAX_BYTES).partition(b";")[0], 16):
            size += length
            if length < 0 or size > ANSWER_MAX_BYTES:
                raise ValueError(size)
            found.append(self._exactly(length))
            self._exactly(2)
        while self._until(b"\r\n", HEAD_MAX_BYTES):  # trailers
            pass
        return b"".join(found)

    def _rest(self) -> bytes:
        parts, size = [self._buffer], len(self._buffer)
        while received := self._receive():
            parts.append(received)
            size += len(received)
            if size > ANSWER_MAX_BYTES:
                raise ValueError(size)
        return b"".join(parts)


def why(error: Exception) -> str:
    """What an operating system's error says."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
