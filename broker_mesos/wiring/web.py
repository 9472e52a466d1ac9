"""Builds and runs the HTTP server of the operator API on RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib

from broker_mesos.bus.open import CLOCK, daemon_bus
from broker_mesos.bus.requests import Requester
from broker_mesos.frameworks.registry import FRAMEWORKS
from broker_mesos.operator.gateway import Gateway
from broker_mesos.runtime.clock import new_id
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.policy_file import policy_file
from broker_mesos.runtime.process import Stop, first, outcome, run_process, serve
from broker_mesos.runtime.settings import Settings
from broker_mesos.web.server import WebServer

log = get_logger(__name__)


def run_web(settings: Settings, host: str, port: int) -> int:
    """Run ``bmesos web``."""

    async def main(stop: Stop) -> None:
        access = policy_file(settings, FRAMEWORKS)
        bus = daemon_bus(settings, "web")
        async with contextlib.AsyncExitStack() as stack:
            await bus.open(settings.connect_timeout)
            stack.push_async_callback(bus.close)
            requester = Requester(bus, CLOCK, new_id)
            stack.push_async_callback(requester.close)
            server = WebServer(Gateway(requester), host, port, cluster=settings.cluster, access=access)
            serving = asyncio.create_task(server.run())
            await first(server.ready.wait(), outcome(serving))
            log.info("serving", url=server.url)
            await serve(
                outcome(serving),
                stop,
                serving.cancel,
                ready=server.ready.wait,
                status=lambda: f"listening at {server.url}",
            )

    return run_process(settings, main)
