"""Builds and runs the HTTP server of the operator API on RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from broker_mesos.bus.open import CLOCK, check_daemon_user, daemon_bus
from broker_mesos.bus.requests import Requester
from broker_mesos.core.protocol.users import WEB_USER
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.registry import FRAMEWORKS
from broker_mesos.operator.daemon_reports import report_of
from broker_mesos.operator.gateway import Gateway
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.policy_file import PolicyFile, policy_file
from broker_mesos.runtime.process import Stop, first, outcome, run_process, serve
from broker_mesos.runtime.settings import Settings
from broker_mesos.runtime.tls import ServerFiles
from broker_mesos.web.address import is_local
from broker_mesos.web.server import HttpServer, WebServer

log = get_logger(__name__)


def run_web(settings: Settings, host: str, port: int, files: ServerFiles | None = None) -> int:
    """Run ``bmesos web``, with HTTPS if there are files for it."""

    async def main(stop: Stop) -> None:
        access = policy_file(settings, FRAMEWORKS)
        bus = daemon_bus(settings, "web")
        check_daemon_user(bus, "the web server", WEB_USER)
        async with contextlib.AsyncExitStack() as stack:
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            requester = Requester(bus, CLOCK, new_id)
            stack.push_async_callback(requester.close)
            server = WebServer(
                Gateway(requester, own_report=lambda: report_of("web server", access)),
                host,
                port,
                cluster=settings.cluster,
                files=files,
                insecure_plaintext=settings.insecure_plaintext,
                access=access,
                bus=bus,
                session_key=None if settings.session_key is None else settings.session_key.get_secret_value(),
            )
            if access is None and not (is_local(server.host) or settings.insecure_plaintext):
                raise InvalidInput(
                    f"--host {host} without a policy: whoever reaches it could do everything; name a policy file "
                    "(BMESOS_POLICY), or accept that with --insecure-plaintext"
                )
            if files is not None or access is not None:
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload, server, access)
            serving = asyncio.create_task(server.run())
            await first(server.ready.wait(), outcome(serving))
            log.info("serving", url=server.url)
            if access is None and not is_local(server.host):
                log.warning("there is no authentication: whoever reaches this address may do everything")
            await serve(
                outcome(serving),
                stop,
                serving.cancel,
                ready=server.ready.wait,
                status=lambda: f"listening at {server.url}",
            )

    return run_process(settings, main)


def reload(server: HttpServer, access: PolicyFile | None) -> None:
    """Read the policy file and the files for HTTPS again. What cannot be read is logged, and stays as it was."""
    if access is not None:
        access.reload()
        server.on_policy()
    try:
        server.reload_certificate()
    except InvalidInput as error:
        log.error("the certificate is not reloaded, and the one before stays in use", error=str(error))
    else:
        log.info("the certificate is reloaded")
