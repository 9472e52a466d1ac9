"""RabbitMQ's management API over HTTP: the users of the broker and their rights."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from broker_mesos.errors import BusUnavailable, InvalidInput
from broker_mesos.runtime.http_call import Reply, call
from broker_mesos.runtime.tls import TlsFiles
from broker_mesos.runtime.urls import endpoint

TIMEOUT_SECONDS = 10.0
"""Timeout for one answer, in seconds."""
MAX_CONCURRENT = 8
"""Maximum number of requests at once."""


class KeptPassword(NamedTuple):
    """What the broker keeps of a user's password."""

    hashed: str
    algorithm: str


class Management:
    """The administrator's requests. ``url`` has no user; ``vhost`` is that of the cluster."""

    def __init__(self, url: str, user: str, password: str, vhost: str, tls: TlsFiles) -> None:
        self.url = url
        self._user = user
        self._vhost = vhost
        self._tls = tls
        self._where = f"RabbitMQ's management API at {endpoint(url)}"
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        self._free = asyncio.Semaphore(MAX_CONCURRENT)

    async def check(self) -> None:
        """Check that users can be administered. Raises BusUnavailable or Unavailable, in one line, if not."""
        tags = (await self._ask("GET", "/whoami")).get("tags", ())
        if "administrator" not in (tags.split(",") if isinstance(tags, str) else tags):
            raise BusUnavailable(
                f"{self._where}: the user {self._user!r} is no administrator, and can make no users: "
                f"rabbitmqctl set_user_tags {self._user} administrator"
            )

    async def kept_password(self, name: str) -> KeptPassword | None:
        """What is kept of a user's password; None if there is no such user."""
        reply = await self._send("GET", f"/users/{quote(name, safe='')}", accept=(200, 404))
        if reply.status == 404:
            return None
        found = self._decoded(reply)
        return KeptPassword(str(found.get("password_hash", "")), str(found.get("hashing_algorithm", "")))

    async def put_user(self, definition: Mapping[str, Any]) -> None:
        """Make a user, or change it, as an entry of a definitions file describes it."""
        name = quote(str(definition["name"]), safe="")
        await self._send("PUT", f"/users/{name}", definition)

    async def put_permission(self, definition: Mapping[str, Any]) -> None:
        """Set the rights of a user to names, as an entry of a definitions file describes them."""
        await self._send("PUT", f"/permissions/{self._of(definition)}", definition)

    async def put_topic_permission(self, definition: Mapping[str, Any]) -> None:
        """Set the rights of a user to keys of one exchange, as an entry of a definitions file describes them."""
        await self._send("PUT", f"/topic-permissions/{self._of(definition)}", definition)

    async def delete_user(self, name: str) -> bool:
        """Delete a user, which closes its connections; returns whether it existed."""
        reply = await self._send("DELETE", f"/users/{quote(name, safe='')}", accept=(204, 404))
        return reply.status == 204

    async def configure_rights(self) -> dict[str, str]:
        """The users with rights in the vhost of the cluster, and the pattern of the names that each may declare."""
        reply = await self._send("GET", f"/vhosts/{quote(self._vhost, safe='')}/permissions", accept=(200,))
        try:
            return {str(each["user"]): str(each["configure"]) for each in json.loads(reply.body)}
        except (ValueError, LookupError, TypeError, RecursionError):
            raise BusUnavailable(f"{self._where} sent no permissions: is another server at that port?") from None

    @property
    def vhost(self) -> str:
        """The vhost of the cluster."""
        return self._vhost

    def _of(self, definition: Mapping[str, Any]) -> str:
        return f"{quote(self._vhost, safe='')}/{quote(str(definition['user']), safe='')}"

    async def _ask(self, method: str, path: str) -> dict[str, Any]:
        return self._decoded(await self._send(method, path, accept=(200,)))

    def _decoded(self, reply: Reply) -> dict[str, Any]:
        try:
            found: Any = json.loads(reply.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise BusUnavailable(f"{self._where} sent no JSON object: is another server at that port?")
        return found

    async def _send(
        self, method: str, path: str, content: object = None, accept: tuple[int, ...] = (200, 201, 204)
    ) -> Reply:
        body = None if content is None else json.dumps(content).encode()
        async with self._free:
            try:
                reply = await asyncio.to_thread(
                    call,
                    self.url,
                    method,
                    f"/api{path}",
                    body,
                    headers=self._headers,
                    tls=self._tls,
                    timeout=TIMEOUT_SECONDS,
                )
            except InvalidInput as error:
                # A file for TLS was changed while this runs: another attempt may find it mended.
                raise BusUnavailable(f"{self._where}: {error}") from None
        if reply.status in accept:
            return reply
        if reply.status == 401:
            raise BusUnavailable(
                f"{self._where} refused the user {self._user!r}: check user and password in the broker's URL, and that "
                "it has the tag administrator"
            )
        raise BusUnavailable(f"{self._where} refused {method} {path} (HTTP status {reply.status}{_reason(reply.body)})")


def _reason(body: bytes) -> str:
    try:
        found: Any = json.loads(body)["reason"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return f", {found[:100]}" if isinstance(found, str) else ""
