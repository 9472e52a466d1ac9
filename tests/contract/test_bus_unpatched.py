"""The Bus contract over a real RabbitMQ without each of the patches of pika for speed; the one for TLS is left out in
``test_bus_tls.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from broker_mesos.bus.rabbitmq import pika_patches
from tests.contract.bus_parties import RabbitParties
from tests.contract.test_bus import *  # noqa: F403 - the same tests, with the fixtures below
from tests.servers import RabbitMQServer

pytestmark = pytest.mark.servers


@pytest.fixture(params=sorted(pika_patches.SPEED - {"read_records"}))
def left_out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(pika_patches, "SPEED", pika_patches.SPEED - {request.param})
    return str(request.param)


@pytest.fixture
async def parties(left_out: str, rabbitmq_server: RabbitMQServer, cluster_name: str) -> AsyncIterator[RabbitParties]:
    found = RabbitParties(cluster_name, rabbitmq_server)
    yield found
    await found.close()


@pytest.fixture
async def restartable(
    left_out: str, private_rabbitmq: RabbitMQServer, cluster_name: str
) -> AsyncIterator[RabbitParties]:
    found = RabbitParties(cluster_name, private_rabbitmq)
    yield found
    await found.close()
