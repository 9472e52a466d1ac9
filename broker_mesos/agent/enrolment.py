"""The enrolment of an agent: how it gets a user of its own on the broker, and keeps its password.

The agent chooses its id and its password, and stores them in ``<work_dir>/meta/broker_user.json`` (mode 0600) before
it sends them to the enrolment server. So whatever ends first, agent or server, the next attempt sends the same, which
the server answers in the same way.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from broker_mesos.core.api.enrolment import ENROLL_PATH, PASSWORD_PATTERN
from broker_mesos.core.protocol.users import AGENT_PREFIX, check_user
from broker_mesos.errors import BY_CODE, BrokerMesosError, Conflict, InvalidInput, Unavailable
from broker_mesos.runtime import failpoints
from broker_mesos.runtime.http_call import CertificateRefused, call
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.tls import TlsFiles
from broker_mesos.runtime.urls import endpoint

log = get_logger(__name__)

ATTEMPT_SECONDS = 5.0
"""Timeout of one attempt, in seconds; the last one may begin just before the end of the whole time."""
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 2.0
"""Pauses between two attempts, in seconds; they double."""
_FILE = "broker_user.json"


@dataclass(frozen=True)
class BrokerUser:
    """An agent's user on the broker."""

    name: str
    """Its name, which is the agent's id."""
    password: str
    release: str = ""
    """The release of this package with which it was enrolled last; empty before the first answer."""

    def __repr__(self) -> str:
        return f"BrokerUser({self.name!r}, password=***, release={self.release!r})"


class UserFile:
    """The file of a work folder that has the agent's user."""

    def __init__(self, work_dir: Path) -> None:
        self._meta = Path(work_dir).absolute() / "meta"
        self.path = self._meta / _FILE

    def obtain(self, new_id: Callable[[], str]) -> BrokerUser:
        """The user in the file; a new one, of the agent of this work folder, if there is none. It is on the disk when
        this returns. Raises InvalidInput for a folder that cannot be used, and for a file that is damaged or that
        others may read; Conflict for an agent whose id no user may have."""
        try:
            self._meta.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.path.exists():
                made = BrokerUser(self._agent_id() or f"{AGENT_PREFIX}{new_id()}", secrets.token_urlsafe(32))
                self._write(made, replacing=False)
            return self._read()
        except OSError as error:
            raise InvalidInput(
                f"cannot use the work folder {self._meta.parent}: {error.strerror}; choose another --work-dir"
            ) from None

    def save(self, user: BrokerUser) -> None:
        """Replace the user in the file. Raises InvalidInput if that is not possible."""
        try:
            self._write(user, replacing=True)
        except OSError as error:
            raise InvalidInput(f"cannot write to the work folder {self._meta.parent}: {error.strerror}") from None

    def _agent_id(self) -> str:
        """The id of the agent that has used this work folder before; empty if there was none."""
        try:
            agent_id = str(json.loads((self._meta / "agent.json").read_bytes())["agent_id"])
        except (FileNotFoundError, ValueError, LookupError, TypeError, RecursionError):
            return ""  # a damaged file is reported when the agent reads it
        if not agent_id.startswith(AGENT_PREFIX):
            raise Conflict(
                f"the agent of {self._meta.parent} is {agent_id!r}, and the ids of enrolled agents begin with "
                f"'{AGENT_PREFIX}': give it another --work-dir, in which it is a new agent"
            )
        return check_user(agent_id)

    def _write(self, user: BrokerUser, *, replacing: bool) -> None:
        new = self.path.with_name(f"{_FILE}.{secrets.token_hex(4)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(json.dumps(asdict(user)).encode())
                file.flush()
                os.fsync(file.fileno())
            if replacing:
                os.rename(new, self.path)
            else:
                try:
                    # Not a rename: of two agents that begin in one folder, the second takes the user of the first.
                    os.link(new, self.path)
                except FileExistsError:
                    pass
        finally:
            new.unlink(missing_ok=True)
        folder = os.open(self._meta, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self) -> BrokerUser:
        if self.path.stat().st_mode & 0o077:
            raise InvalidInput(f"{self.path}: others may read this password; change its mode to 0600")
        try:
            found = json.loads(self.path.read_bytes())
            user = BrokerUser(check_user(str(found["name"])), str(found["password"]), str(found["release"]))
            if not user.name.startswith(AGENT_PREFIX) or not PASSWORD_PATTERN.fullmatch(user.password):
                raise ValueError
        except (ValueError, LookupError, TypeError, RecursionError):
            raise InvalidInput(
                f"{self.path} is damaged: remove it, and have the agent's id freed with `bmesos agents forget`"
            ) from None
        return user


class Enroller:
    """Asks an enrolment server for an agent. Errors have the server's address."""

    def __init__(
        self,
        url: str,
        join_token: str,
        tls: TlsFiles,
        release: str,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        """``release`` is that of this package: another one renews the rights. ``sleep`` is that of the clock."""
        self._url = url
        self._join_token = join_token
        self._tls = tls
        self._release = release
        self._sleep = sleep

    async def enrolled(self, file: UserFile, new_id: Callable[[], str], timeout: float) -> BrokerUser:
        """The user of the agent of a work folder. A new agent is enrolled first, for which the server is tried for
        ``timeout`` seconds. One that another release has enrolled asks for new rights, but starts without them if the
        server does not answer. Raises what the server answers with, and Unavailable without an answer."""
        user = await asyncio.to_thread(file.obtain, new_id)
        if user.release == self._release:
            return user
        if user.release:
            try:
                return await self.enroll(file, user, 0.0)
            except Unavailable as error:
                log.warning("the rights on the broker are not renewed", error=str(error))
                return user
        if not self._join_token:
            raise InvalidInput(
                "no join token: set BMESOS_JOIN_TOKEN_FILE to a file with one (`bmesos token create --join`)"
            )
        failpoints.hit("agent.before-enrolment")
        return await self.enroll(file, user, timeout)

    async def enroll(self, file: UserFile, user: BrokerUser, timeout: float) -> BrokerUser:
        """Enrol this user, or have its rights set again. The server is tried for ``timeout`` seconds, and once at
        least. Raises as ``enrolled`` does."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + timeout, FIRST_PAUSE_SECONDS
        while True:
            try:
                await asyncio.to_thread(self._ask, user)
                break
            except CertificateRefused:
                raise
            except Unavailable:
                if loop.time() + pause >= deadline:
                    raise
            await self._sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        failpoints.hit("agent.after-enrolment")
        enrolled = replace(user, release=self._release)
        await asyncio.to_thread(file.save, enrolled)
        log.info("agent enrolled", agent_id=user.name, server=endpoint(self._url))
        return enrolled

    def _ask(self, user: BrokerUser) -> None:
        """One attempt. Blocks."""
        body = json.dumps({"id": user.name, "password": user.password, "join_token": self._join_token}).encode()
        headers = {"Content-Type": "application/json"}
        where = f"the enrolment server at {endpoint(self._url)}"
        try:
            reply = call(self._url, "POST", ENROLL_PATH, body, headers=headers, tls=self._tls, timeout=ATTEMPT_SECONDS)
        except CertificateRefused as error:
            raise CertificateRefused(f"the enrolment server: {error}") from None
        except Unavailable as error:
            raise Unavailable(f"the enrolment server: {error}") from None
        try:
            content = json.loads(reply.body)
            if reply.status == 200:
                if content["data"]["id"] != user.name:
                    raise ValueError
                return
            code, message = str(content["error"]["code"]), str(content["error"]["message"])
        except (ValueError, LookupError, TypeError, RecursionError):
            raise Unavailable(f"{where} does not enrol agents (HTTP status {reply.status}): check enroll_url") from None
        text = " ".join(message.split())[:500]
        raise BY_CODE.get(code, BrokerMesosError)(f"{where}: {text}")
