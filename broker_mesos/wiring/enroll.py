"""Builds and runs the enrolment server on RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from functools import partial
from urllib.parse import unquote, urlsplit

from broker_mesos.bus.open import CLOCK, daemon_bus
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.core.protocol.users import ENROLL_USER
from broker_mesos.enroll.agent_users import AgentUsers
from broker_mesos.enroll.app import build_app
from broker_mesos.enroll.gone_agents import GoneWatch
from broker_mesos.enroll.management import Management
from broker_mesos.enroll.service import EnrolmentService
from broker_mesos.errors import BusUnavailable, InvalidInput, Unavailable
from broker_mesos.frameworks.registry import FRAMEWORKS
from broker_mesos.operator.calls import Calls
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.http_call import CertificateRefused
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.policy_file import policy_file
from broker_mesos.runtime.process import Stop, first, outcome, run_process, serve
from broker_mesos.runtime.settings import Settings
from broker_mesos.runtime.tls import ServerFiles
from broker_mesos.runtime.urls import has_user, without_user
from broker_mesos.web.server import HttpServer
from broker_mesos.wiring.web import reload

log = get_logger(__name__)

RETRY_SECONDS = 0.5
"""Pause between two attempts to reach the management API at the start, in seconds."""


def run_enroll_server(settings: Settings, host: str, port: int, files: ServerFiles | None = None) -> int:
    """Run ``bmesos enroll-server``, with HTTPS if there are files for it."""

    async def main(stop: Stop) -> None:
        access = policy_file(settings, FRAMEWORKS)
        if access is None:
            raise InvalidInput(
                "no policy: name a file with the join tokens in BMESOS_POLICY (`bmesos token create --join` makes one)"
            )
        bus = daemon_bus(settings, "enroll-server")
        if bus.user != ENROLL_USER:
            raise InvalidInput(
                f"broker_url: the user of an enrolment server is '{ENROLL_USER}' and not {bus.user!r}: "
                "`bmesos deploy rabbitmq-definitions --enroll` makes it"
            )
        async with contextlib.AsyncExitStack() as stack:
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            management = _management(settings)
            await _reach(management, settings.connect_timeout)
            requester = Requester(bus, CLOCK, new_id)
            stack.push_async_callback(requester.close)
            users = AgentUsers(management, Topology(settings.cluster))
            gone = GoneWatch(Calls(requester, CLOCK.sleep), users, CLOCK.sleep)
            service = EnrolmentService(users, access, gone, CLOCK)
            responder = Responder(
                bus, Queue(QueueKind.OPERATOR_ENROLL), service.handlers.answer, CLOCK, new_id, access=access
            )
            server = HttpServer(
                partial(build_app, service), host, port, files=files, insecure_plaintext=settings.insecure_plaintext
            )
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload, server, access)
            works = [
                asyncio.create_task(server.run(), name="enrolment over HTTP"),
                asyncio.create_task(responder.run(), name="operator requests"),
                asyncio.create_task(gone.run(), name="gone agents"),
            ]
            stack.push_async_callback(_end, works)
            await first(server.ready.wait(), outcome(works[0]))
            log.info("serving", url=server.url, tokens=len(access.policy.join.tokens))

            def cancel() -> None:
                for work in works:
                    work.cancel()

            await serve(
                first(*(outcome(work) for work in works)),
                stop,
                cancel,
                ready=server.ready.wait,
                status=lambda: f"listening at {server.url}",
            )

    return run_process(settings, main)


async def _end(works: list[asyncio.Task[None]]) -> None:
    for work in works:
        work.cancel()
    await asyncio.wait(works)


def _management(settings: Settings) -> Management:
    url, broker = settings.need_management(), settings.need_broker()
    parts = urlsplit(url if has_user(url) else broker)
    return Management(
        without_user(url),
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        _vhost(broker),
        settings.tls_files(),
    )


def _vhost(broker_url: str) -> str:
    """The vhost of a broker's URL, as the bus reads it."""
    path = urlsplit(broker_url).path
    return "/" if path in ("", "/", "//") else unquote(path[1:])


async def _reach(management: Management, timeout: float) -> None:
    """Check the management API, which may be starting, within ``timeout`` seconds. Raises Unavailable."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            await management.check()
            return
        except (BusUnavailable, CertificateRefused):
            raise  # an answer that stays the same
        except Unavailable:
            if asyncio.get_running_loop().time() + RETRY_SECONDS >= deadline:
                raise
        await CLOCK.sleep(RETRY_SECONDS)
