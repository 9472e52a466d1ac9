"""RabbitMQ is alarmed, killed and wiped while a job runs. In this order: one server for all of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from broker_mesos.client import Client
from broker_mesos.errors import Unavailable
from tests.e2e.cluster import until
from tests.faults.conftest import Keeper
from tests.faults.support import Runs, Victim
from tests.servers import RabbitMQServer, RedisServer

SHORT = "sleep 0.3"
DOCTOR_SECONDS = 30.0
"""Time after which a doctor hangs; it takes less than 5 s."""


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A RabbitMQ for this module: the run's own is shared."""
    with RabbitMQServer() as server:
        yield server


@pytest.fixture(scope="module")
def keeper(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Keeper]:
    made = Keeper(rabbitmq.url, redis_server.url, tmp_path_factory.mktemp("faults"), masters=2, agents=2, workers=1)
    yield made
    if not rabbitmq.running:
        rabbitmq.start()
    made.close()


ALARMS = {
    "memory": (
        ("set_vm_memory_high_watermark", "absolute", "1MB"),
        ("set_vm_memory_high_watermark", "absolute", "1GB"),
    ),
    "disk": (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "50MB")),
}


@pytest.mark.parametrize("what", ALARMS)
def test_an_alarm_of_rabbitmq_holds_work_up_and_says_so_until_it_is_over(
    victim: Victim, rabbitmq: RabbitMQServer, what: str
):
    runs = Runs(victim, 150, SHORT).submit().under_way()
    agents = {each.agent_id for each in victim.client().agents()}
    said = {each.name: each.text().count("alarm") for each in victim.of("master")}
    begin, end = ALARMS[what]
    rabbitmq.ctl(*begin)
    try:
        until(
            "a master says so",
            lambda: any(each.text().count("alarm") > said[each.name] for each in victim.of("master")),
        )
        # What asks meanwhile gets an error in its time, no hang.
        refused = pytest.raises(Unavailable, match=f"blocks publishers: {what} alarm")
        with Client(victim.amqp_url, cluster=victim.name, timeout=2) as client, refused:
            client.agents()
        doctor = victim.cli("doctor", timeout=DOCTOR_SECONDS)
        assert doctor.returncode == 4 and "it accepts no messages: a memory or disk alarm" in doctor.stdout, doctor
    finally:
        rabbitmq.ctl(*end)
    runs.finished_exactly_once()
    # A master that could not hear has declared nobody unreachable.
    assert {each.agent_id for each in victim.client().agents()} == agents


def test_rabbitmq_killed_and_restarted_loses_nothing(victim: Victim, rabbitmq: RabbitMQServer):
    runs = Runs(victim, 150, SHORT).submit().under_way(0.3)
    rabbitmq.kill()
    rabbitmq.start()
    runs.finished_exactly_once()


def test_rabbitmq_wiped_loses_nothing(victim: Victim, rabbitmq: RabbitMQServer):
    runs = Runs(victim, 150, SHORT).submit().under_way(0.3)
    rabbitmq.kill()
    shutil.rmtree(rabbitmq.data_dir / "mnesia")
    rabbitmq.start()
    runs.finished_exactly_once()
