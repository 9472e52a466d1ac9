"""What the agents of an embedded cluster lend."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from broker_mesos.agent import probe
from broker_mesos.client import Client
from broker_mesos.core.model.resources import Resources
from broker_mesos.errors import BrokerMesosError, InvalidInput
from broker_mesos.runtime.settings import Settings
from broker_mesos.web.server import WebServer
from broker_mesos.wiring.local import LocalCluster, lent_resources


def test_what_is_not_named_is_added(tmp_path: Path) -> None:
    free = probe.free_disk(tmp_path)
    (lent,) = lent_resources("cpus:4;mem:4096", tmp_path, 1)
    assert lent.scalars["disk"] == pytest.approx(free * 1000, rel=0.1)
    assert str(lent).startswith("cpus:4;mem:4096;") and str(lent).endswith("ports:[31000-32000]")
    (lent,) = lent_resources(" gpus:2; mem:1024; disk:0; ports:[5-6] ; ", tmp_path, 1)
    assert str(lent) == str(Resources.parse("cpus:4;mem:1024;gpus:2;ports:[5-6]"))


def test_agents_share_the_disk_and_the_ports_of_the_machine(tmp_path: Path) -> None:
    lent = lent_resources("", tmp_path, 3)
    ports = [each.ranges["ports"] for each in lent]
    assert [str(each) for each in lent] == [
        str(
            Resources.parse(
                f"cpus:4;mem:4096;disk:{each.scalars['disk'] / 1000:g};ports:[{31000 + 333 * n}-{31332 + 333 * n}]"
            )
        )
        for n, each in enumerate(lent)
    ]
    assert len(set(map(str, ports))) == 3
    assert sum(each.scalars["disk"] for each in lent) <= probe.free_disk(tmp_path) * 1000 * 1.1


def test_a_thousand_agents_have_a_port_each(tmp_path: Path) -> None:
    lent = lent_resources("disk:0", tmp_path, 1000)
    assert len({str(each) for each in lent}) == 1000


def test_resources_given_as_such_are_exactly_those(tmp_path: Path) -> None:
    given = Resources.parse("cpus:1")
    assert lent_resources(given, tmp_path, 2) == [given, given]


@pytest.mark.parametrize("text", ["cpus:0;mem:0;disk:0;ports:[]", "cpus:x", "ports:7", "volumes:1"])
def test_impossible_resources_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput):
        lent_resources(text, tmp_path, 1)


async def test_embedded_cluster_lends_ports_and_disk() -> None:
    async with LocalCluster() as cluster:
        (lent,) = cluster.lent
        assert cluster.agents[0].state.info.resources == lent
        assert "ports:[31000-32000]" in str(lent) and "disk:" in str(lent)


async def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            BrokerMesosError, match=f"port {port} on 127.0.0.1 is in use: stop the program that uses it"
        ):
            async with LocalCluster(port=port, data=tmp_path / "data"):
                pass
    assert not (tmp_path / "data" / "agents").exists()


async def test_a_client_that_comes_while_the_cluster_starts_waits_for_it(monkeypatch: pytest.MonkeyPatch):
    answers: list[asyncio.Task[str]] = []
    listen = WebServer.listen

    def ask_at_once(web: WebServer) -> None:
        listen(web)
        request = asyncio.to_thread(lambda: Client(web.url, timeout=20).cluster().cluster)
        answers.append(asyncio.create_task(request))

    monkeypatch.setattr(WebServer, "listen", ask_at_once)
    async with LocalCluster(port=0):
        assert await answers[0] == "default"


async def test_agents_follow_the_settings_of_kills_and_outcomes() -> None:
    async with LocalCluster(Settings(kill_grace=9.0, outcomes_kept=5.0)) as cluster:
        state = cluster.agents[0].state
        assert (state.table.kill_grace, state.outcomes.retention_seconds) == (9.0, 5.0)


async def test_a_request_for_another_cluster_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)

    def ask(url: str, cluster: str | None = None) -> str:
        with Client(url, cluster=cluster) as client:
            return client.cluster().cluster

    async with LocalCluster(port=0) as cluster:
        assert await asyncio.to_thread(ask, cluster.url) == "default"
        assert await asyncio.to_thread(ask, cluster.url, "default") == "default"
        with pytest.raises(InvalidInput, match="this is the cluster default, not 'other'"):
            await asyncio.to_thread(ask, cluster.url, "other")
        (tmp_path / "bmesos.toml").write_text('cluster = "stored"\n')
        with pytest.raises(InvalidInput, match="this is the cluster default, not 'stored'"):
            await asyncio.to_thread(ask, cluster.url)
        monkeypatch.setenv("BMESOS_CLUSTER", "named")
        with pytest.raises(InvalidInput, match="this is the cluster default, not 'named'"):
            await asyncio.to_thread(ask, cluster.url)
