"""The client over RabbitMQ itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from broker_mesos.bus.open import open_bus
from broker_mesos.bus.requests import Responder
from broker_mesos.client import Client
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.errors import Unavailable
from broker_mesos.runtime.clock import SystemClock
from tests.operator.fakes import FakeCluster
from tests.servers import RabbitMQServer


@pytest.fixture
async def batch(rabbitmq_url: str, cluster_name: str) -> AsyncIterator[FakeCluster]:
    """Something that answers as the batch framework does."""
    cluster, numbers = FakeCluster(), itertools.count()
    bus = open_bus(rabbitmq_url, name="fake batch", cluster=cluster_name)
    await bus.open(10)
    responder = Responder(
        bus,
        Queue(QueueKind.OPERATOR_FRAMEWORK, "batch"),
        cluster.handle,
        SystemClock(),
        lambda: str(next(numbers)),
    )
    serving = asyncio.create_task(responder.run())
    await asyncio.wait_for(responder.consuming.wait(), 10)
    yield cluster
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await bus.close()


async def test_a_job_is_submitted_and_waited_for_without_http(
    batch: FakeCluster, rabbitmq_url: str, cluster_name: str
) -> None:
    def use() -> tuple[str, int | None]:
        with Client(rabbitmq_url, cluster=cluster_name, timeout=10) as client:
            job = client.submit("true")
            return job.id, job.wait(10).exit_code

    job_id, code = await asyncio.to_thread(use)
    assert code == 0 and list(batch.specs) == [job_id]


async def test_a_cluster_without_masters_is_unavailable(rabbitmq_url: str, cluster_name: str) -> None:
    def use() -> None:
        with Client(rabbitmq_url, cluster=cluster_name, timeout=10) as client:
            with pytest.raises(Unavailable, match="GET_CLUSTER at master"):
                client.cluster()

    await asyncio.to_thread(use)


def test_wrong_credentials_are_named_without_the_password(rabbitmq_server: RabbitMQServer) -> None:
    parts = urlsplit(rabbitmq_server.url)
    url = f"amqp://nobody:hush@{parts.hostname}:{parts.port}/"
    with Client(url, timeout=10) as client:
        with pytest.raises(Unavailable, match=str(parts.port)) as caught:
            client.cluster()
    assert "hush" not in str(caught.value)
