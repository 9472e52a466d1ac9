"""The tests of the Bus contract that depend on the connection, over a real RabbitMQ with TLS: pika's transport is
another one there, and has a patch of its own."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from broker_mesos.bus.rabbitmq import RabbitBus, pika_patches
from broker_mesos.runtime.tls import TlsFiles
from tests.contract.bus_parties import RabbitParties, SystemClock
from tests.contract.test_bus import (  # noqa: F401 - the same tests, with the fixtures below
    test_a_closed_bus_hands_its_queues_over,
    test_a_full_window_pushes_back_and_then_has_room_again,
    test_a_message_arrives_as_it_was_sent,
    test_a_restart_of_the_broker_is_survived,
    test_messages_arrive_in_the_order_of_publishing,
    test_unacknowledged_messages_come_again_in_order_after_a_close,
    test_what_is_acknowledged_right_before_the_bus_is_closed_does_not_come_again,
)
from tests.security.certificates import Certificates, make_certificates
from tests.tls_servers import TlsRabbitMQServer

pytestmark = pytest.mark.servers


class TlsParties(RabbitParties):
    """On a RabbitMQ with TLS."""

    def __init__(self, cluster: str, server: TlsRabbitMQServer, certificates: Certificates) -> None:
        super().__init__(cluster, server)
        self.files = TlsFiles(str(certificates.path("ca.crt")))

    def make(self, cluster: str, *, url: str = "", **options: Any) -> RabbitBus:
        url = url or self.server.tls_url
        return RabbitBus(url, cluster=cluster, clock=SystemClock(), rng=random.Random(1), tls=self.files, **options)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[TlsRabbitMQServer]:
    with TlsRabbitMQServer(certificates.files()) as server:
        yield server


@pytest.fixture(params=["", "read_records"])
def left_out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The patch that is not applied."""
    monkeypatch.setattr(pika_patches, "SPEED", pika_patches.SPEED - {request.param})
    return str(request.param)


@pytest.fixture
async def parties(
    left_out: str, tls_server: TlsRabbitMQServer, certificates: Certificates, cluster_name: str
) -> AsyncIterator[TlsParties]:
    found = TlsParties(cluster_name, tls_server, certificates)
    yield found
    await found.close()


@pytest.fixture
async def restartable(parties: TlsParties) -> TlsParties:
    """The server is this module's alone, and nothing of a test is left after it."""
    return parties
