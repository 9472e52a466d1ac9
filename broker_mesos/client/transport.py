"""How a client reaches the cluster: over HTTP, or over RabbitMQ with a gateway of its own."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from typing import Any, Protocol
from urllib.parse import urlsplit

from pydantic import ValidationError

from broker_mesos.core.api.request import Request
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import MAX_BODY, first_problem
from broker_mesos.errors import BY_CODE, BrokerMesosError, InvalidInput, TimedOut, Unavailable
from broker_mesos.runtime.settings import endpoint

TIMEOUT_HEADER = "Bmesos-Timeout"
"""Seconds the client waits for an answer, beyond what its request itself asks to wait for."""

ANSWER_MARGIN_SECONDS = 1.0
"""Seconds that the far end gets to answer that time is up, before we give up on it."""
NEXT_STEP = "start a cluster with `bmesos local`, or name one with --url or BMESOS_URL"


class Unreachable(Unavailable):
    """There was no connection at all: nothing listens there, or the host is not known."""


class Transport(Protocol):
    """Asks and hands back the answer; safe to use from several threads."""

    def request(self, request: Request, timeout: float) -> Part:
        """The answer, within ``timeout`` seconds beyond what the request asks to wait for. Raises the errors
        of ``broker_mesos.errors``."""
        ...

    def close(self) -> None:
        """Let go of connections. Idempotent."""
        ...


class HttpTransport:
    """Keeps idle connections, and takes a fresh one when the far end has closed an idle one."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/") + "/api/v1"
        self._where = endpoint(url)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def request(self, request: Request, timeout: float) -> Part:
        """See :class:`Transport`."""
        body = json.dumps({"type": request.TYPE, **request.model_dump(mode="json", exclude_defaults=True)})
        data = body.encode()
        if len(data) > MAX_BODY:
            raise InvalidInput(f"{request.TYPE} has {len(data)} bytes; at most {MAX_BODY} are allowed")
        limit = timeout + request.wait_seconds + ANSWER_MARGIN_SECONDS
        status, answer = self._exchange(data, timeout, limit)
        return self._decode(request, status, answer)

    def close(self) -> None:
        """See :class:`Transport`."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exchange(self, data: bytes, timeout: float, limit: float) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", TIMEOUT_HEADER: f"{timeout:g}"}
        while True:
            connection, reused = self._take(timeout, limit)
            try:
                connection.request("POST", self._path, data, headers)
                response = connection.getresponse()
                answer = response.read()
            except TimeoutError:
                connection.close()
                raise TimedOut(f"{self._where} did not answer within {limit:g} s; try again") from None
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # Closed while idle: the request, harmless when repeated, goes over a new connection.
                if reused and isinstance(error, ConnectionError | http.client.BadStatusLine):
                    continue
                raise Unavailable(f"lost the connection to {self._where} ({_why(error)}); try again") from None
            except BaseException:
                connection.close()  # interrupted half-way: its answer must not reach the next request
                raise
            if response.will_close:
                connection.close()
            else:
                with self._lock:
                    self._idle.append(connection)
            return response.status, answer

    def _take(self, timeout: float, limit: float) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(limit)
            return connection, True
        fresh: http.client.HTTPConnection
        if self._tls:
            fresh = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=ssl.create_default_context()
            )
        else:
            fresh = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            fresh.connect()
        except TimeoutError:
            raise Unreachable(f"{self._where} does not answer; {NEXT_STEP}") from None
        except ConnectionRefusedError:
            raise Unreachable(f"nothing listens at {self._where}; {NEXT_STEP}") from None
        except socket.gaierror:
            raise Unreachable(f"{self._where}: no such host; {NEXT_STEP}") from None
        except OSError as error:
            raise Unreachable(f"cannot reach {self._where} ({_why(error)}); {NEXT_STEP}") from None
        fresh.sock.settimeout(limit)
        return fresh, False

    def _decode(self, request: Request, status: int, answer: bytes) -> Part:
        try:
            content: Any = json.loads(answer)
            if status == 200:
                return request.ANSWER.model_validate(content["data"])
            error = content["error"]
            code, message = str(error["code"]), str(error["message"])
        except ValidationError as finding:
            raise BrokerMesosError(
                f"{self._where} gave an answer that this version cannot read: {first_problem(finding)}"
            ) from None
        except (ValueError, LookupError, TypeError):
            raise Unavailable(
                f"{self._where} does not speak the operator API (HTTP status {status}); "
                "is another program on that port? Name the cluster with --url or BMESOS_URL"
            ) from None
        raise BY_CODE.get(code, BrokerMesosError)(message)


def connect(url: str, cluster: str) -> Transport:
    """The transport for a checked URL."""
    if url.startswith(("amqp://", "amqps://")):
        # Only here: the event loop, the gateway and the adapters take long to import.
        from broker_mesos.client.bus import BusTransport

        return BusTransport(url, cluster)
    return HttpTransport(url)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
