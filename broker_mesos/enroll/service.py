"""Answers enrolments: checks who asks, makes the user, and records it."""

from __future__ import annotations

import math
from typing import Protocol

from broker_mesos.bus.caller import CheckedAccess
from broker_mesos.core.api.enrolment import AgentForgotten, Enrolled, Enrolment, ForgetAgent, RevokeAgent
from broker_mesos.core.api.handlers import Handlers
from broker_mesos.core.api.health import EnrolmentReport, GetEnrolmentHealth
from broker_mesos.core.protocol.users import AGENT_PREFIX, check_user
from broker_mesos.enroll.agent_users import AgentUsers
from broker_mesos.enroll.attempts import Attempts
from broker_mesos.enroll.gone_agents import GoneWatch
from broker_mesos.errors import BrokerMesosError, Conflict, Denied, InvalidInput, NotFound, Unavailable
from broker_mesos.operator.daemon_reports import report_of
from broker_mesos.ports.clock import Clock
from broker_mesos.runtime import failpoints
from broker_mesos.runtime.logs import get_logger

log = get_logger(__name__)

MAX_LISTED = 5_000
"""Maximum number of enrolled agents that one report lists."""


class TooManyAttempts(Unavailable):
    """An address has been refused too often."""

    def __init__(self, wait: float) -> None:
        self.wait = math.ceil(wait)
        """The time to wait, in whole seconds."""
        super().__init__(f"too many refused enrolments from this address: try again in {self.wait} s")


class Enrolments(Protocol):
    """What the HTTP application asks."""

    async def enroll(self, enrolment: Enrolment, address: str) -> Enrolled:
        """Enrol an agent that has sent this from ``address``. Raises InvalidInput, Denied, Conflict, Unavailable."""
        ...


class EnrolmentService:
    """Enrols agents, and forgets them. ``access`` has the join tokens."""

    def __init__(self, users: AgentUsers, access: CheckedAccess, gone: GoneWatch, clock: Clock) -> None:
        self._users = users
        self._access = access
        self._gone = gone
        self._clock = clock
        self._attempts = Attempts()
        self.handlers = handlers = Handlers("the enrolment server")
        handlers.add(ForgetAgent, self._forget)
        handlers.add(RevokeAgent, self._revoke)
        handlers.add(GetEnrolmentHealth, self._report)

    async def enroll(self, enrolment: Enrolment, address: str) -> Enrolled:
        """See ``Enrolments``."""
        enrolment.check()
        if (wait := self._attempts.begin(address, self._clock.monotonic())) > 0.0:
            raise TooManyAttempts(wait)
        admitted_by = ""

        def admit(*, enrolled: bool) -> None:
            nonlocal admitted_by
            if enrolled:
                admitted_by = "its password"
            else:
                token = enrolment.join_token.get_secret_value()
                admitted_by = f"join token {self._access.policy.admit(token, self._clock.time())}"
            self._gone.check(enrolment.id)

        error: BaseException | None = None
        try:
            existed = await self._users.enroll(enrolment.id, enrolment.password.get_secret_value(), admit)
            failpoints.hit("enroll.after-rights")
        except BaseException as raised:
            error = raised
            raise
        finally:
            if not isinstance(error, Denied | Conflict):
                self._attempts.succeeded(address)
            answer = error.error_code if isinstance(error, BrokerMesosError) else "failed" if error else "ok"
            log.info(
                "audit",
                principal=enrolment.id,
                action="ENROLL",
                on=enrolment.id,
                answer=answer,
                by=admitted_by,
                address=address,
            )
        return Enrolled(id=enrolment.id, renewed=existed)

    async def _report(self, request: GetEnrolmentHealth) -> EnrolmentReport:
        enrolled = await self._users.enrolled()
        daemon = report_of("enrolment server", self._access)
        return EnrolmentReport(daemon=daemon, agent_ids=tuple(enrolled[:MAX_LISTED]))

    async def _revoke(self, request: RevokeAgent) -> AgentForgotten:
        return AgentForgotten(existed=await self._gone.revoke(request.agent_id))

    async def _forget(self, request: ForgetAgent) -> AgentForgotten:
        agent_id = check_user(request.agent_id)
        if not agent_id.startswith(AGENT_PREFIX):
            raise InvalidInput(f"{agent_id!r} is no enrolled agent: their ids begin with '{AGENT_PREFIX}'")
        existed = await self._users.delete(agent_id)
        gone = self._gone.free(agent_id)
        if not (existed or gone):
            raise NotFound(f"there is no user {agent_id} on the broker: its id can be enrolled")
        return AgentForgotten(existed=existed)
