"""The order in which a user is made, and its end in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from broker_mesos.bus.rights import Role, definitions, password_hash
from broker_mesos.bus.topology import Topology
from broker_mesos.enroll.agent_users import AgentUsers
from broker_mesos.enroll.management import KeptPassword, Management
from broker_mesos.errors import Conflict, Denied, Unavailable
from broker_mesos.runtime.tls import NO_FILES

PASSWORD, OTHER = "p" * 43, "o" * 43


class Recorded(Management):
    """The requests that would be sent, in their order; the request of this number fails."""

    def __init__(self, failing: int = -1) -> None:
        super().__init__("http://127.0.0.1:1", "enroll", "pw", "/", NO_FILES)
        self.done: list[str] = []
        self.kept: KeptPassword | None = None
        self.failing = failing
        self.rights: dict[str, str] = {}

    def _record(self, what: str) -> None:
        if len(self.done) == self.failing:
            self.failing = -1
            raise Unavailable("down")
        self.done.append(what)

    async def kept_password(self, name: str) -> KeptPassword | None:
        await asyncio.sleep(0)
        return self.kept

    async def put_user(self, definition: Mapping[str, Any]) -> None:
        self._record("user")
        assert definition["tags"] == ""
        self.kept = KeptPassword(definition["password_hash"], definition["hashing_algorithm"])

    async def put_topic_permission(self, definition: Mapping[str, Any]) -> None:
        self._record(f"keys of {definition['exchange']}")

    async def put_permission(self, definition: Mapping[str, Any]) -> None:
        self._record("names")

    async def delete_user(self, name: str) -> bool:
        existed, self.kept = self.kept is not None, None
        return existed

    async def configure_rights(self) -> dict[str, str]:
        return self.rights


def admit(*, enrolled: bool) -> None:
    """Everybody is admitted."""


def deny(*, enrolled: bool) -> None:
    """Only who is enrolled is."""
    if not enrolled:
        raise Denied("no")


RIGHTS = [f"keys of bmesos.{name}" for name in ("commands", "operator", "offers", "replies")]


async def test_rights_to_names_come_last() -> None:
    """RabbitMQ allows every key of an exchange for which a user has no patterns."""
    management = Recorded()
    assert await AgentUsers(management, Topology()).enroll("agent-1", PASSWORD, admit) is False
    assert management.done == ["user", *RIGHTS, "names"]


@pytest.mark.parametrize("failing", range(6))
async def test_whatever_fails_the_same_password_makes_it_whole(failing: int) -> None:
    management = Recorded(failing)
    users = AgentUsers(management, Topology())
    with pytest.raises(Unavailable):
        await users.enroll("agent-1", PASSWORD, admit)
    management.done.clear()
    # It needs no token for that, once it has a user.
    assert await users.enroll("agent-1", PASSWORD, deny if failing else admit) is (failing > 0)
    assert management.done == [*(["user"] if failing == 0 else []), *RIGHTS, "names"]


async def test_another_password_changes_nothing_and_is_a_conflict_for_who_is_admitted() -> None:
    management = Recorded()
    management.kept = KeptPassword(password_hash(OTHER, b"salt"), "rabbit_password_hashing_sha256")
    users = AgentUsers(management, Topology())
    with pytest.raises(Conflict, match="bmesos agents forget agent-1"):
        await users.enroll("agent-1", PASSWORD, admit)
    # Who is not admitted does not even learn that there is such an agent.
    with pytest.raises(Denied, match="no"):
        await users.enroll("agent-1", PASSWORD, deny)
    assert management.done == []
    assert await users.delete("agent-1")
    assert await users.enroll("agent-1", PASSWORD, admit) is False


async def test_of_many_at_once_one_wins() -> None:
    users = AgentUsers(Recorded(), Topology())
    passwords = [character * 43 for character in "abcdefgh"]
    found = await asyncio.gather(*(users.enroll("agent-1", each, admit) for each in passwords), return_exceptions=True)
    assert sorted(str(type(each).__name__) for each in found) == ["Conflict"] * 7 + ["bool"]


async def test_a_user_that_another_server_has_overwritten_is_a_conflict() -> None:
    class Overwritten(Recorded):
        async def put_permission(self, definition: Mapping[str, Any]) -> None:
            self.kept = KeptPassword(password_hash(OTHER, b"salt"), "rabbit_password_hashing_sha256")

    with pytest.raises(Conflict):
        await AgentUsers(Overwritten(), Topology()).enroll("agent-1", PASSWORD, admit)


async def test_of_clusters_that_share_a_vhost_each_lists_its_own_agents() -> None:
    management = Recorded()
    lists = []
    for cluster, agents in (("default", ("agent-2", "agent-1")), ("lab", ("agent-3",))):
        made = definitions(Topology(cluster), dict.fromkeys(agents, (Role.AGENT, "")), {}, "/")
        management.rights |= {each["user"]: each["configure"] for each in made["permissions"]}
    management.rights |= {"master": ".*", "agent-x": ".*", "agent-x.y": "^$", "agent-": ""}
    for cluster in ("default", "lab", "third"):
        lists.append(await AgentUsers(management, Topology(cluster)).enrolled())
    assert lists == [["agent-1", "agent-2"], ["agent-3"], []]
