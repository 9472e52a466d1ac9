"""Servers with the users and rights of one cluster, and the cluster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import pytest_runtest_makereport  # noqa: F401 - shows the logs of daemons
from tests.security.certificates import Certificates, make_certificates
from tests.security.secured import SecuredCluster, Servers
from tests.tls_servers import TlsFiles, TlsRabbitMQServer, TlsRedisServer


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """RabbitMQ and Redis that nobody may use but the users of one cluster."""
    made = Servers(tmp_path_factory.mktemp("secured"))
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def secured(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredCluster]:
    """A cluster on them: two masters, two agents, a batch worker and a web server."""
    with SecuredCluster(servers, tmp_path_factory.mktemp("cluster")) as made:
        made.master(cells=2).ready()
        made.master(cells=2)
        made.agent()
        made.agent()
        made.batch()
        made.web()
        made.ready()
        # What tests of another file have left in the inboxes comes before the job's messages.
        assert made.client().submit(["true"]).wait(timeout=60).state == "finished"
        made.client().drop_dead_letters("")
        yield made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class TlsServers:
    """A RabbitMQ and a Redis with TLS, whose certificate can be exchanged while they run, as their operators do it."""

    def __init__(self, certificates: Certificates, folder: Path) -> None:
        self._certificates = certificates
        self._files = TlsFiles(certificates.path("ca.crt"), folder / "server.crt", folder / "server.key")
        self._copy("localhost")
        self.rabbitmq = TlsRabbitMQServer(self._files)
        self.redis = TlsRedisServer(self._files)

    def use(self, name: str) -> None:
        """Show another certificate to the next clients."""
        if name != self._used:
            self._copy(name)
            self.rabbitmq.reload_certificate()
            self.redis.reload_certificate()

    def _copy(self, name: str) -> None:
        self._used = name
        files = self._certificates.files(name)
        shutil.copy(files.cert, self._files.cert)
        shutil.copy(files.key, self._files.key)


@pytest.fixture(scope="session")
def started_tls_servers(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServers]:
    made = TlsServers(certificates, tmp_path_factory.mktemp("tls-servers"))
    with made.rabbitmq, made.redis:
        yield made


@pytest.fixture
def tls_servers(started_tls_servers: TlsServers) -> TlsServers:
    """With the certificate for ``localhost``."""
    started_tls_servers.use("localhost")
    return started_tls_servers
