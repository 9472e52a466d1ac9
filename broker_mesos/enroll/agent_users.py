"""The users of agents on RabbitMQ: makes them with exactly the rights of an agent, and deletes them."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable
from typing import Protocol

from broker_mesos.bus.rights import Role, definitions, is_password, password_hash
from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.users import AGENT_PREFIX, USER_PATTERN
from broker_mesos.enroll.management import Management
from broker_mesos.errors import Conflict
from broker_mesos.frameworks.registry import FRAMEWORKS
from broker_mesos.runtime import failpoints


class Admission(Protocol):
    """Decides whether an agent may be enrolled."""

    def __call__(self, *, enrolled: bool) -> None:
        """Return if it may; ``enrolled``: it has a user already, and knows its password. Raises Denied if not."""
        ...


class AgentUsers:
    """The users of the agents of one cluster. Requests about one agent are handled one after the other."""

    def __init__(self, management: Management, topology: Topology, salt: Callable[[int], bytes] = os.urandom) -> None:
        self._management = management
        self._topology = topology
        self._salt = salt
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def enroll(self, agent_id: str, password: str, admit: Admission) -> bool:
        """Make the user of an agent, or set its rights again if it exists with this password. Returns whether it
        existed. Raises what ``admit`` does; Conflict, after that has admitted it, if it exists with another password;
        Unavailable if the broker cannot be reached, and then the same may be tried again."""
        async with self._lock(agent_id):
            kept = await self._management.kept_password(agent_id)
            existed = kept is not None and is_password(password, kept.hashed, kept.algorithm)
            admit(enrolled=existed)
            if kept is not None and not existed:
                raise _other_password(agent_id)
            await self._make(agent_id, password, existed=existed)
            if not existed:
                # Another enrolment server may have made it meanwhile, with the password of another agent.
                kept = await self._management.kept_password(agent_id)
                if kept is None or not is_password(password, kept.hashed, kept.algorithm):
                    raise _other_password(agent_id)
            return existed

    async def delete(self, agent_id: str) -> bool:
        """Delete the user of an agent, which closes its connections; returns whether it existed."""
        async with self._lock(agent_id):
            return await self._management.delete_user(agent_id)

    async def enrolled(self) -> list[str]:
        """The agents of this cluster that have users, in alphabetical order. Clusters may share a vhost: those of this
        one may declare queues of its agents. Raises Unavailable."""
        users = await self._management.configure_rights()
        return sorted(user for user, pattern in users.items() if pattern == self._configure_right(user))

    def _configure_right(self, user: str) -> str | None:
        if not (user.startswith(AGENT_PREFIX) and USER_PATTERN.fullmatch(user)):
            return None
        made = definitions(self._topology, {user: (Role.AGENT, "")}, FRAMEWORKS, self._management.vhost)
        (permission,) = made["permissions"]
        return str(permission["configure"])

    async def _make(self, agent_id: str, password: str, *, existed: bool) -> None:
        hashed = password_hash(password, self._salt(4))
        made = definitions(self._topology, {agent_id: (Role.AGENT, hashed)}, FRAMEWORKS, self._management.vhost)
        if not existed:
            for user in made["users"]:
                await self._management.put_user(user)
            failpoints.hit("enroll.after-user")
        # Rights to names come last: RabbitMQ allows every key of an exchange without patterns of keys, so that in the
        # other order an agent could receive the messages of others for a moment.
        for topic_permission in made["topic_permissions"]:
            await self._management.put_topic_permission(topic_permission)
        for permission in made["permissions"]:
            await self._management.put_permission(permission)

    def _lock(self, agent_id: str) -> asyncio.Lock:
        return self._locks.setdefault(agent_id, asyncio.Lock())


def _other_password(agent_id: str) -> Conflict:
    return Conflict(
        f"{agent_id} has a user with another password already: its work folder was lost, or another agent has this id; "
        f"an operator frees the id with `bmesos agents forget {agent_id}`"
    )
