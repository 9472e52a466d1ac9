"""Reservations and volumes on real servers: data outlives tasks, agents and the store."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import pytest
import redis

from broker_mesos import (
    CommandInfo,
    FrameworkInfo,
    Operation,
    Resources,
    Scheduler,
    SchedulerDriver,
    TaskInfo,
    Volume,
    VolumeMount,
)
from broker_mesos.errors import Conflict
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import NewCluster
from tests.e2e.waiting import until

R = Resources.parse
VOLUME = Volume(volume_id="data", role="eng", size=R("disk:64"))


class Keeper(Scheduler):
    """Keeps what it hears of; tasks are launched by the test, one at a time."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.offers: list = []
        self.seen: list = []
        self.statuses: dict[str, object] = {}
        self.operations: dict[str, str] = {}
        self.wanted: list = []

    def resource_offers(self, driver, offers):
        with self.lock:
            self.seen.extend(offers)
            for offer in offers:
                if self.wanted and self.wanted[0][0](offer):
                    _, operations, tasks = self.wanted.pop(0)
                    driver.accept(offer, tasks, 0, operations)
                else:
                    driver.decline(offer, 0.2)
            self.lock.notify_all()

    def status_update(self, driver, status):
        with self.lock:
            self.statuses[status.task_id] = status
            self.lock.notify_all()

    def operation_updates(self, driver, statuses):
        with self.lock:
            self.operations.update((each.operation_id, each.message or each.state) for each in statuses)
            self.lock.notify_all()

    def want(self, fits, *tasks: TaskInfo, operations=()) -> None:
        """Accept the next offer that fits."""
        with self.lock:
            self.wanted.append((fits, operations, tasks))

    def until(self, condition, limit: float = 30.0):
        with self.lock:
            assert self.lock.wait_for(condition, limit), (self.statuses, self.operations)

    def ended(self, task_id: str) -> str:
        self.until(lambda: task_id in self.statuses and self.statuses[task_id].state.terminal)
        status = self.statuses[task_id]
        return f"{status.state.short} {status.message}".strip()


@contextlib.contextmanager
def framework(cluster: Cluster, ident: str, role: str) -> Iterator[Keeper]:
    scheduler = Keeper()
    info = FrameworkInfo(framework_id=ident, roles=(role,), failover_timeout=300)
    driver = SchedulerDriver(scheduler, info, cluster.amqp_url, cluster=cluster.name)
    driver.start()
    try:
        yield scheduler
    finally:
        driver.stop()
        assert driver.join(20)


def using(task_id: str, command: str) -> TaskInfo:
    return TaskInfo(
        task_id=task_id,
        resources=R("cpus:0.1;mem:16"),
        command=CommandInfo(arguments=(command,), shell=True),
        volumes=(VolumeMount(volume_id="data", path="kept"),),
    )


def has_volume(offer) -> bool:
    return any(each.volume_id == "data" for each in offer.volumes)


@pytest.mark.timeout(180)
def test_a_volume_keeps_its_data_over_tasks_agents_and_a_wiped_store(
    new_cluster: NewCluster, server_urls: tuple[str, str]
):
    cluster = new_cluster(agent_beat=1)
    master = cluster.master(cells=1)
    lent = "cpus:2;mem:1024;disk:256;ports:[]"
    agent = cluster.agent(resources=lent)
    cluster.ready()
    agent_id = cluster.agent_id(agent)
    with framework(cluster, "eng-1", "eng") as eng, framework(cluster, "ops-1", "ops") as ops:
        eng.want(
            lambda offer: offer.resources.get("disk") >= 64_000,
            using("writes", "echo precious > kept/file"),
            operations=(
                Operation(type="RESERVE", role="eng", resources=R("cpus:1;mem:64;disk:64"), operation_id="r"),
                Operation(type="CREATE", volume=VOLUME, operation_id="c"),
            ),
        )
        assert eng.ended("writes") == "finished"
        eng.until(lambda: len(eng.operations) == 2)
        assert eng.operations == {"r": "OPERATION_FINISHED", "c": "OPERATION_FINISHED"}

        # What an operator sees and may do.
        (row,) = json.loads(cluster.cli("-o", "json", "volumes").stdout)
        assert (row["agent_id"], row["volume"]["volume_id"], row["volume"]["role"]) == (
            agent_id,
            "data",
            "eng",
        )
        listed = cluster.cli("reservations").stdout
        assert "eng" in listed and "1 cpus" in listed and "dynamic" in listed
        refused = cluster.cli("reserve", agent_id, "ops", "cpus:1.5")
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1 and "short of cpus:0.5: " in refused.stderr
        assert cluster.cli("reserve", agent_id, "ops", "mem:100", "--label", "a=b").returncode == 0
        assert cluster.cli("unreserve", agent_id, "ops", "mem:100", "--label", "a=b").returncode == 0
        made = cluster.client().reserve(agent_id, "ops", "disk:32")
        assert [each.reservation.role for each in made.reservations] == ["eng", "ops"]
        assert cluster.cli("volume", "create", agent_id, "ops", "extra", "32", "--shared").returncode == 0
        assert cluster.cli("volume", "destroy", agent_id, "extra").returncode == 0
        cluster.client().unreserve(agent_id, "ops", "disk:32")

        agent.stop()
        agent = cluster.agent(resources=lent, work_dir=agent.work_dir)
        agent.ready()
        eng.want(has_volume, using("reads", "grep -q precious kept/file && echo more >> kept/file"))
        assert eng.ended("reads") == "finished"

        # Everything that the store knew is gone.
        master.stop()
        store = redis.Redis.from_url(server_urls[1])
        for key in store.scan_iter(f"bmesos:{{{cluster.name}*"):
            store.delete(key)
        store.close()
        cluster.master(cells=1)
        cluster.ready()
        until("the volume is known again", lambda: json.loads(cluster.cli("-o", "json", "volumes").stdout))
        eng.want(has_volume, using("reads-again", "grep -q more kept/file"))
        assert eng.ended("reads-again") == "finished"

        ops.until(lambda: len(ops.seen) > 0)
        for offer in ops.seen:
            assert not has_volume(offer)
            assert "volumes" not in offer.resources.sets
        folder = agent.work_dir / "volumes" / "data"
        assert (folder / "file").read_text() == "precious\nmore\n"
        with pytest.raises(Conflict, match="less than that"):
            cluster.client().unreserve(agent_id, "eng", "disk:64")
        until("the volume is free", lambda: destroyed(cluster, agent_id))
        until("its folder is gone", lambda: not folder.exists())


def destroyed(cluster: Cluster, agent_id: str) -> bool:
    try:
        cluster.client().destroy_volume(agent_id, "data")
    except Conflict:
        return False
    return True


def test_static_reservations_are_given_by_the_agents_options(new_cluster: NewCluster):
    cluster = new_cluster(reserve="eng=cpus:1;mem:100")
    cluster.master(cells=2)
    agent = cluster.agent(resources="cpus:2;mem:1024;disk:0;ports:[]")
    cluster.ready()
    (row,) = json.loads(cluster.cli("-o", "json", "reservations").stdout)
    assert row["reservation"] == {
        "role": "eng",
        "resources": "cpus:1;mem:100",
        "labels": {},
        "static": True,
        "refines": [],
    }
    refused = cluster.cli("unreserve", cluster.agent_id(agent), "eng", "cpus:1")
    assert refused.returncode == 2 and "by its own options" in refused.stderr
    bad = cluster.cli("agent", "--reserve", "eng=cpus:99", "--resources", "cpus:1;mem:10")
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1 and "--reserve: eng is to have" in bad.stderr
