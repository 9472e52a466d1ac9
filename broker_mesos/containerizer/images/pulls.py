"""Images that tasks need: each is pulled once at a time, if the engine does not have it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from broker_mesos.containerizer.images.engine import connect, is_away, is_refusal, one_line, reason_of, status_of
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.timeouts import within

NOT_FOUND = 404
LATE_SECONDS = 5.0
"""Time beyond the time-out after which nobody waits for the thread that pulls."""


class Pulls:
    """The pulls of an agent. ``auth`` is a JSON text as in Docker's ``config.json``, with the credentials of
    registries; empty for those of the agent's user. ``timeout`` is that of a pull, in seconds."""

    def __init__(self, auth: str, timeout: float) -> None:
        self._auth = auth
        self._timeout = timeout
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def need(self, socket: str, image: str) -> None:
        """Pull an image, if the engine does not have it. A pull goes on when nobody waits for it any more. Raises
        InvalidInput if it cannot be pulled, and what ``engine.is_away`` knows if the engine does not answer."""
        pull = self._under_way.get(image)
        if pull is None:
            pull = self._under_way[image] = asyncio.ensure_future(self._pull(socket, image))
            pull.add_done_callback(lambda done: self._done(image, done))
        await asyncio.shield(pull)

    def _done(self, image: str, pull: asyncio.Task[None]) -> None:
        del self._under_way[image]
        if not pull.cancelled():
            pull.exception()  # or asyncio would complain if nobody waits for it any more

    async def _pull(self, socket: str, image: str) -> None:
        try:
            async with within(self._timeout + LATE_SECONDS):
                await asyncio.to_thread(pull_image, socket, image, self._auth, self._timeout)
        except TimeoutError:
            raise late(image, self._timeout) from None

    async def stop(self) -> None:
        """Wait for no pull any more."""
        pulls = list(self._under_way.values())
        for pull in pulls:
            pull.cancel()
        await asyncio.gather(*pulls, return_exceptions=True)


def late(image: str, timeout: float) -> InvalidInput:
    """The error for a pull that has taken too long."""
    return InvalidInput(f"image {image}: not pulled within {timeout:g} s (the agent's setting pull_timeout)")


def pull_image(
    socket: str,
    image: str,
    auth: str,
    timeout: float,
    *,
    client_of: Callable[[str, float], Any] = connect,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Pull an image, if the engine does not have it; blocks for at most twice ``timeout`` seconds. Raises as
    ``Pulls.need``."""
    from docker.utils import parse_repository_tag
    from requests import Timeout

    began = clock()
    client = client_of(socket, timeout)
    try:
        try:
            client.inspect_image(image)
            return
        except Exception as error:
            if status_of(error) != NOT_FOUND:
                raise
        repository, tag = parse_repository_tag(image)
        credentials = credentials_of(auth, repository)
        for event in client.pull(repository, tag or "latest", stream=True, decode=True, auth_config=credentials):
            if event.get("error"):
                raise InvalidInput(f"image {image}: {one_line(str(event['error']))}")
            if clock() - began > timeout:
                raise late(image, timeout)
    except Exception as error:
        if isinstance(error, Timeout) or "timed out" in str(error).lower():
            raise late(image, timeout) from None
        if is_refusal(error):
            raise InvalidInput(f"image {image}: {reason_of(error)}") from None
        if not (is_away(error) or isinstance(error, InvalidInput)):
            raise InvalidInput(f"image {image}: {one_line(str(error)) or type(error).__name__}") from None
        raise
    finally:
        client.close()


def credentials_of(auth: str, repository: str) -> dict[str, str] | None:
    """The credentials for the registry of a repository; None if there are none, or for those of the agent's user.
    Raises InvalidInput if they cannot be read."""
    if not auth:
        return None
    from docker.auth import AuthConfig, resolve_repository_name
    from docker.errors import DockerException

    try:
        registry, _ = resolve_repository_name(repository)
        known = AuthConfig({"auths": AuthConfig.parse_auth(json.loads(auth)["auths"], raise_on_error=True)})
        found = known.resolve_authconfig(registry)
    except (DockerException, ValueError, LookupError, TypeError):
        raise InvalidInput(f"the credentials in registry_auth cannot be used for {repository}") from None
    return {} if found is None else dict(found)
