"""Heartbeats that come again and again."""

from __future__ import annotations

import pytest

from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, Reregister
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.framework_messages import FrameworkHeartbeat
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import InvalidMessage
from broker_mesos.master import heartbeat_reader
from broker_mesos.master.heartbeat_reader import HeartbeatReader
from broker_mesos.ports.bus import Delivery


def delivery(message: Message) -> Delivery:
    return Delivery(type=message.TYPE, body=message.encode(), message_id="m", tag=1, redelivered=False)


def beat(name: str, version: int = 1) -> FrameworkHeartbeat:
    info = FrameworkInfo(framework_id=name)
    return FrameworkHeartbeat(framework_id=name, framework=info, demand=Demand(version=version))


def test_a_frameworks_heartbeat_is_decoded_once_until_it_says_something_else() -> None:
    read = HeartbeatReader().read
    first = read(delivery(beat("f1")))
    assert first == beat("f1") and read(delivery(beat("f1"))) is first
    assert read(delivery(beat("f1", 2))) == beat("f1", 2)
    assert read(delivery(beat("f2"))) == beat("f2")


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat_reader, "MAX_CACHED", 3)
    heard = HeartbeatReader()
    for number in range(10):
        heard.read(delivery(beat(f"f{number}")))
        assert len(heard._known) <= 3
    monkeypatch.setattr(heartbeat_reader, "MAX_CACHED_BYTES", 10)
    before = dict(heard._known)
    heard.read(delivery(beat("long")))
    assert heard._known == before


def test_an_agents_heartbeat_is_read_and_anything_else_is_refused() -> None:
    mine = AgentHeartbeat(agent_id="a1", session="s", applied=3)
    assert HeartbeatReader().read(delivery(mine)) == mine
    with pytest.raises(InvalidMessage):
        HeartbeatReader().read(delivery(Reregister()))


def test_a_probe_of_the_route_is_no_heartbeat() -> None:
    assert HeartbeatReader().read(delivery(Ping())) is None
