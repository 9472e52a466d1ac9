"""Clusters to do harm to. Most faults leave the cluster healthy once it is made whole again, so that one
cluster serves many tests; after a failure the next test gets a new one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.faults.support import Victim
from tests.servers import RabbitMQServer, RedisServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.servers)
            item.add_marker(pytest.mark.timeout(180))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Victim):
                value.show_logs()
                value.failed = True  # type: ignore[attr-defined]
    return report


def fresh(amqp_url: str, redis_url: str, tmp: Path, **settings: object) -> Victim:
    name = f"f{uuid.uuid4().hex[:8]}"
    return Victim(amqp_url, redis_url, name, tmp / name, **settings)


class Keeper:
    """Keeps one cluster for the tests of a module."""

    def __init__(
        self,
        amqp_url: str,
        redis_url: str,
        tmp: Path,
        settings: Mapping[str, object] = MappingProxyType({}),
        **size: int,
    ) -> None:
        self._words = (amqp_url, redis_url, tmp)
        self._settings = settings
        self._size = size
        self._victim: Victim | None = None

    def take(self) -> Victim:
        if self._victim is None:
            self._victim = fresh(*self._words, **self._settings)
            self._victim.grow(**self._size)
        else:
            self._victim.heal()
        return self._victim

    def give_back(self) -> None:
        if self._victim is not None and getattr(self._victim, "failed", False):
            self._victim.abort()
            self._victim = None

    def close(self) -> None:
        if self._victim is not None:
            self._victim.heal()
            self._victim.close()


@pytest.fixture(scope="module")
def keeper(
    rabbitmq_server: RabbitMQServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Keeper]:
    made = Keeper(rabbitmq_server.url, redis_server.url, tmp_path_factory.mktemp("faults"))
    yield made
    made.close()


@pytest.fixture
def victim(keeper: Keeper) -> Iterator[Victim]:
    """2 masters, 2 cells, 2 agents with 8 CPUs each, 2 batch workers, on the run's servers, all well."""
    yield keeper.take()
    keeper.give_back()
