"""Connects the agent to the spawner of its work folder, and starts a spawner if there is none."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from broker_mesos.containerizer.process.spawner_connection import Connection
from broker_mesos.containerizer.process.spawner_link import address
from broker_mesos.containerizer.process.spawner_scope import SpawnerScope
from broker_mesos.errors import Unavailable
from broker_mesos.runtime.timeouts import within

START_TIMEOUT_SECONDS = 60.0
"""Time within which a spawner must have answered, in seconds; a slow service manager takes most of it."""

_MAIN = str(Path(__file__).with_name("spawner_main.py"))


class Connected(NamedTuple):
    """A new connection to the spawner."""

    connection: Connection
    greeting: list[list[Any]]
    early: list[list[Any]]
    """The events after the greeting. Further ones are added until another function handles the connection's records."""


class SpawnerConnector:
    """Connects to the spawner of a work folder; ``env`` is the environment of a new spawner, and ``boot_id`` is for
    tests that simulate a restart of the machine. With a ``scope`` a new one is started in that."""

    def __init__(
        self, work_dir: Path, env: Mapping[str, str], boot_id: str = "", scope: SpawnerScope | None = None
    ) -> None:
        self._scope = scope
        self._work_dir = work_dir
        self.meta = work_dir / "meta"
        self._env = env
        self._boot_id = boot_id

    async def connect(self) -> Connected:
        """Connect, starting a spawner if there is none. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_TIMEOUT_SECONDS
        answer = ""
        while loop.time() < deadline:
            sock = self._dial()
            if sock is not None:
                early: list[list[Any]] = []
                connection = Connection(early.extend)
                await loop.create_unix_connection(lambda made=connection: made, sock=sock)  # type: ignore[misc]
                try:
                    async with within(max(0.1, deadline - loop.time())):
                        greeting = await connection.greeting
                except (TimeoutError, ConnectionError):
                    if connection.transport is not None:
                        connection.transport.abort()
                    await asyncio.sleep(0.02)
                    continue
                return Connected(connection, greeting, early)
            may_scope = self._scope is not None and not self._scope.failed
            answer = await asyncio.to_thread(self.start)
            if may_scope and self._scope is not None and self._scope.failed:
                deadline = loop.time() + START_TIMEOUT_SECONDS  # a service manager that hangs has taken the time so far
            if answer == "locked":  # a spawner is ending, or another process has just started one
                await asyncio.sleep(0.02)
            elif answer != "ready":
                break
        reason = answer if answer not in ("", "ready") else "no answer"
        raise Unavailable(f"cannot start the helper process that runs tasks: {reason}; see {self.meta / 'spawner.log'}")

    def start(self) -> str:
        """Start a spawner, which blocks for some 50 ms. Returns "ready", "locked" or the error."""
        command = [sys.executable, "-I", "-S", _MAIN, str(self._work_dir), self._boot_id]
        try:
            self.meta.mkdir(mode=0o700, parents=True, exist_ok=True)
            scoped = None if self._scope is None else self._scope.command(command, self._env.get("PATH", os.defpath))
        except OSError as error:
            return f"{error.strerror}: {error.filename}"
        if scoped is None or self._scope is None:
            return self._run(command, dict(self._env))
        answer = self._run(scoped, self._scope.env(self._env))
        if answer in ("ready", "locked"):
            return answer
        self._scope.fail(f"systemd-run did not start it ({answer}; see {self.meta / 'spawner.log'})")
        return self._run(command, dict(self._env))

    def _run(self, command: list[str], env: dict[str, str]) -> str:
        """Run the command of a spawner; its answer."""
        if "BMESOS_SANDBOX" in os.environ:
            # This agent is itself a task of another one, and so is our spawner.
            env["BMESOS_SANDBOX"] = os.environ["BMESOS_SANDBOX"]
        try:
            with open(self.meta / "spawner.log", "ab") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=env,
                    start_new_session=True,
                )
        except OSError as error:
            return f"{error.strerror}: {error.filename}"
        assert process.stdout is not None
        answer = b""
        if select.select([process.stdout], [], [], START_TIMEOUT_SECONDS)[0]:
            answer = process.stdout.readline()
        process.stdout.close()
        if not answer:
            process.kill()
        process.wait()  # the process that was started here, which has forked the spawner and ended
        return answer.decode(errors="replace").strip() or "it ended without a message"

    def _dial(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            fd = os.open(self.meta, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sock.connect(address(fd))
            finally:
                os.close(fd)
        except OSError:
            sock.close()
            return None
        return sock
