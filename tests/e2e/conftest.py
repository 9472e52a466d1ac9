"""Clusters of real processes; see ``cluster.py``."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.servers import RabbitMQServer, RedisServer

NewCluster = Callable[..., Cluster]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.servers)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Cluster):
                value.show_logs()
    return report


@pytest.fixture(scope="session")
def server_urls(rabbitmq_server: RabbitMQServer, redis_server: RedisServer) -> tuple[str, str]:
    """Of the run's RabbitMQ and Redis."""
    return rabbitmq_server.url, redis_server.url


@pytest.fixture
def new_cluster(server_urls: tuple[str, str], tmp_path: Path) -> Iterator[NewCluster]:
    """Makes clusters that live as long as the test; closing them asserts that all ended well."""
    made: list[Cluster] = []

    def make(**settings: object) -> Cluster:
        name = f"t{uuid.uuid4().hex[:10]}"
        made.append(Cluster(*server_urls, name, tmp_path / name, settings))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture(scope="session")
def cluster(server_urls: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests that leave it as it was: 2 masters, 4 cells, 2 agents on racks r1 and r2,
    2 batch workers and the HTTP face."""
    name = f"s{uuid.uuid4().hex[:10]}"
    with Cluster(*server_urls, name, tmp_path_factory.mktemp(name)) as made:
        made.master(cells=4)
        made.master(cells=4)
        made.agent(attributes="rack:r1;kind:small")
        made.agent(attributes="rack:r2;kind:big")
        made.batch()
        made.batch()
        made.web()
        yield made.ready()
