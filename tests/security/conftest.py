"""Servers with the users and rights of one cluster, and the cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import pytest_runtest_makereport  # noqa: F401 - shows the logs of daemons
from tests.security.secured import SecuredCluster, Servers


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
        yield made.ready()
