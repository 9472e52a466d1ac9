"""The parties of the Bus contract, on the memory broker and on a real RabbitMQ."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.bus_parties import MemoryParties, Parties, RabbitParties

BOTH = ["memory", pytest.param("rabbitmq", marks=pytest.mark.servers)]


async def parties_on(server: str, request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[Parties]:
    found: Parties
    if request.param == "memory":
        found = MemoryParties(cluster_name)
    else:
        found = RabbitParties(cluster_name, request.getfixturevalue(server))
    yield found
    await found.close()


@pytest.fixture(params=BOTH)
async def parties(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[Parties]:
    async for found in parties_on("rabbitmq_server", request, cluster_name):
        yield found


@pytest.fixture(params=BOTH)
async def restartable(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[Parties]:
    """Parties whose broker is theirs alone."""
    async for found in parties_on("private_rabbitmq", request, cluster_name):
        yield found
