"""The driver that a framework's author starts: it finds the cluster, from the settings or a URL."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import structlog

from broker_mesos.bus.open import open_bus
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.errors import BrokerMesosError
from broker_mesos.ports.bus import Bus
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.runtime.logs import configure
from broker_mesos.runtime.settings import Settings, load
from broker_mesos.sdk import runner
from broker_mesos.sdk.driver import Driver
from broker_mesos.sdk.scheduler import Scheduler
from broker_mesos.sdk.settings import DriverSettings

if TYPE_CHECKING:
    from broker_mesos.wiring.local import LocalCluster

EMBEDDED = "memory://"
"""The URL of a cluster that lives in this process, and ends with the driver."""


class SchedulerDriver(runner.SchedulerDriver):
    """Runs a Scheduler: ``run()`` blocks; or ``start()``, ``stop()``, ``join()`` with a thread.

    ``url`` is the broker's, as ``amqp://user:password@host:5672/``; without one BMESOS_BROKER_URL or
    ``bmesos.toml`` names it. ``memory://`` starts a cluster in this process (one agent, 4 CPUs, 4 GB), which
    keeps nothing: for trying a framework out. ``main()`` is ``run()`` for a whole program: it returns an exit
    code, and prints an error as one line. ``run``, ``start`` and ``main`` raise or print InvalidInput when no broker is
    named, or its URL is wrong: ``SchedulerDriver(…).main()`` shows no traceback.

    ``tls_ca``, ``tls_cert``, ``tls_key`` and ``insecure_plaintext`` are the settings of these names; without them
    BMESOS_TLS_CA and so on, or ``bmesos.toml``, give them.

    Log lines go to stderr, unless the program has configured structlog by itself.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        framework: FrameworkInfo,
        url: str | None = None,
        *,
        cluster: str | None = None,
        settings: DriverSettings | None = None,
        open_timeout: float = 10.0,
        tls_ca: str | PathLike[str] | None = None,
        tls_cert: str | PathLike[str] | None = None,
        tls_key: str | PathLike[str] | None = None,
        insecure_plaintext: bool | None = None,
    ) -> None:
        self._embedded = url == EMBEDDED
        self._framework_id = framework.framework_id
        self._cluster: LocalCluster | None = None
        self._wrong_settings: BrokerMesosError | None = None
        try:
            self._found = load(
                cluster=cluster,
                broker_url=None if self._embedded else url,
                tls_ca=tls_ca,
                tls_cert=tls_cert,
                tls_key=tls_key,
                insecure_plaintext=insecure_plaintext,
            )
            self._url = "" if self._embedded else self._found.need_broker()
        except BrokerMesosError as error:
            self._wrong_settings = error
        else:
            _log_to_stderr(self._found, quiet=self._embedded)
        super().__init__(
            scheduler,
            framework,
            self._make_bus,
            clock=SystemClock(),
            new_id=new_id,
            settings=settings,
            open_timeout=open_timeout,
        )

    def _begin(self) -> None:
        if self._wrong_settings is not None:
            raise self._wrong_settings
        super()._begin()

    def _make_bus(self) -> Bus:
        name = f"bmesos framework {self._framework_id}"
        if self._embedded:
            from broker_mesos.wiring.local import LocalCluster

            self._cluster = LocalCluster(self._found)
            return self._cluster.bus(name)
        return open_bus(
            self._url,
            name=name,
            cluster=self._found.cluster,
            heartbeat=self._found.agent_heartbeat,
            verifies=self._found.security == "on",
            tls=self._found.tls_files(),
        )

    async def _open_and_run(self, bus: Bus, driver: Driver) -> None:
        if self._cluster is None:
            await super()._open_and_run(bus, driver)
            return
        async with self._cluster:
            await super()._open_and_run(bus, driver)


def _log_to_stderr(settings: Settings, *, quiet: bool) -> None:
    if structlog.is_configured():
        return
    # An embedded cluster's daemons would otherwise talk between the framework's own lines.
    if quiet and "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "warning"})
    configure(settings.log_level, settings.log_format)
