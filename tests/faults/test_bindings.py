"""Exchanges and bindings are deleted while a job runs, as an operator or a policy may do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import Exchange, Queue, QueueKind
from tests.faults.conftest import Keeper
from tests.faults.support import Runs, Victim
from tests.servers import RabbitMQServer, RedisServer

SHORT = "sleep 0.3"


@pytest.fixture(scope="module")
def keeper(
    rabbitmq_server: RabbitMQServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Keeper]:
    """Agents may be silent for longer than the 20 s after which bindings are repeated, as by default."""
    tmp = tmp_path_factory.mktemp("faults")
    made = Keeper(rabbitmq_server.url, redis_server.url, tmp, {"agent_missed": 30}, masters=2, agents=2, workers=1)
    yield made
    made.close()


@pytest.mark.parametrize(
    "exchanges",
    [[Exchange.UPDATES], [Exchange.CALLS], list(Exchange)],
    ids=lambda exchanges: "+".join(exchanges) if len(exchanges) == 1 else "all",
)
def test_a_job_goes_on_when_exchanges_are_deleted(victim: Victim, exchanges: list[Exchange]):
    runs = Runs(victim, 100, SHORT).submit().under_way(0.2)
    names = Topology(victim.name)
    with victim.channel() as channel:
        for exchange in exchanges:
            channel.exchange_delete(names.exchange(exchange))
    runs.finished_exactly_once(60.0)


def test_a_job_goes_on_when_queues_are_unbound(victim: Victim):
    runs = Runs(victim, 100, SHORT).submit().under_way(0.2)
    names = Topology(victim.name)
    # All that others than their consumers may unbind.
    queues = [Queue(QueueKind.CELL_INBOX, str(cell)) for cell in range(2)]
    queues += [Queue(QueueKind.FRAMEWORK_OFFERS, "batch"), Queue(QueueKind.FRAMEWORK_EVENTS, "batch")]
    with victim.channel() as channel:
        for queue in queues:
            spec = names.queue_spec(queue)
            for exchange, key in spec.bindings:
                channel.queue_unbind(spec.name, exchange, key)
    runs.finished_exactly_once(60.0)
