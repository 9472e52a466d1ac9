"""The servers of ``tests/servers.py`` with TLS: they listen at ``tls_port``, too.

With ``client_certificates`` they accept clients there only that show a certificate of the CA.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, NamedTuple

from tests.servers import RabbitMQServer, RedisServer, free_port


class TlsFiles(NamedTuple):
    """What a server with TLS reads: the CA for certificates of clients, its own certificate, and its key."""

    ca: Path
    cert: Path
    key: Path


class _Encrypted:
    """What servers with TLS share. It comes before the class of the server among the bases."""

    def __init__(self, tls: TlsFiles, *, client_certificates: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls
        self._client_certificates = client_certificates
        self.tls_port = 0


class TlsRabbitMQServer(_Encrypted, RabbitMQServer):
    """A RabbitMQ for `amqps://`. With `management` its HTTP API is at `tls_management_url`, too."""

    _tls_management_port = 0

    @property
    def tls_management_url(self) -> str:
        assert self._tls_management_port, "started without management=True"
        return f"https://localhost:{self._tls_management_port}"

    @property
    def tls_url(self) -> str:
        return f"amqps://guest:guest@localhost:{self.tls_port}/"

    def reload_certificate(self) -> None:
        """Let the next clients see what is in the files now."""
        self.ctl("eval", "ssl:clear_pem_cache().")

    def _forget_ports(self) -> None:
        super()._forget_ports()
        self.tls_port = self._tls_management_port = 0

    def _prepare(self) -> None:
        self.tls_port = self.tls_port or free_port()
        if self._management:
            self._tls_management_port = self._tls_management_port or free_port()
            self._config |= {
                "management.ssl.ip": "127.0.0.1",
                "management.ssl.port": str(self._tls_management_port),
                "management.ssl.cacertfile": str(self._tls.ca),
                "management.ssl.certfile": str(self._tls.cert),
                "management.ssl.keyfile": str(self._tls.key),
            }
        self._config |= {
            "listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": str(self._tls.ca),
            "ssl_options.certfile": str(self._tls.cert),
            "ssl_options.keyfile": str(self._tls.key),
            "ssl_options.verify": "verify_peer" if self._client_certificates else "verify_none",
            "ssl_options.fail_if_no_peer_cert": str(self._client_certificates).lower(),
        }
        super()._prepare()

    def _answers(self) -> bool:
        if not super()._answers():
            return False
        socket.create_connection(("127.0.0.1", self.tls_port), timeout=2).close()
        return True


class TlsRedisServer(_Encrypted, RedisServer):
    """A Redis for `rediss://`."""

    @property
    def tls_url(self) -> str:
        return f"rediss://localhost:{self.tls_port}/0"

    def reload_certificate(self) -> None:
        """Let the next clients see what is in the files now."""
        self.ask("CONFIG", "SET", "tls-cert-file", str(self._tls.cert))

    def ask(self, *words: str) -> str:
        """Send one command over the port without TLS, and return the first line of the answer."""
        command = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(f"*{len(words)}\r\n{command}".encode())
            return connection.makefile().readline().strip()

    def _forget_ports(self) -> None:
        super()._forget_ports()
        self.tls_port = 0

    def _prepare(self) -> None:
        self.tls_port = self.tls_port or free_port()
        self._config |= {
            "tls-port": str(self.tls_port),
            "tls-ca-cert-file": str(self._tls.ca),
            "tls-cert-file": str(self._tls.cert),
            "tls-key-file": str(self._tls.key),
            "tls-auth-clients": "yes" if self._client_certificates else "no",
        }
        super()._prepare()
