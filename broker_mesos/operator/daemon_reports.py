"""What daemons beside the masters report of themselves, and how all of them are asked."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from broker_mesos import __version__
from broker_mesos.bus.caller import CheckedAccess
from broker_mesos.core.api.health import DaemonReport, EnrolmentReport, GetEnrolmentHealth, GetWorkerHealth
from broker_mesos.core.protocol.addresses import operator_enroll
from broker_mesos.errors import BrokerMesosError
from broker_mesos.operator.calls import JOBS_FRAMEWORK, Calls

log = logging.getLogger(__name__)

MAX_PROCESSES = 50
"""Maximum number of processes of one daemon that are asked."""


def report_of(kind: str, access: CheckedAccess | None, processes: int = 1) -> DaemonReport:
    """The report of this process, which is a daemon of this kind."""
    return DaemonReport(
        kind=kind,
        hostname=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        policy="" if access is None else access.policy.digest,
        policy_problem="" if access is None else access.problem,
        processes=processes,
    )


async def worker_reports(calls: Calls, timeout: float) -> list[DaemonReport]:
    """The reports of the processes that run the jobs, within ``timeout`` seconds. They take requests in turn, so that
    requests are sent until each has answered or should have."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    found: dict[tuple[str, int], DaemonReport] = {}
    expected = 1
    try:
        for _ in range(2 * MAX_PROCESSES):
            left = deadline - loop.time()
            if len(found) >= expected or left <= 0:
                break
            report = await calls.request(JOBS_FRAMEWORK, GetWorkerHealth(), DaemonReport, left)
            found[report.hostname, report.pid] = report
            expected = min(report.processes, MAX_PROCESSES)
    except BrokerMesosError as error:
        log.debug("not all batch workers report: %s", error)
    return [found[key] for key in sorted(found)]


async def enrolment_report(calls: Calls, timeout: float) -> EnrolmentReport | None:
    """The report of the enrolment server; None if there is none, or none that answers within ``timeout`` seconds."""
    try:
        return await calls.request(operator_enroll(), GetEnrolmentHealth(), EnrolmentReport, timeout)
    except BrokerMesosError as error:
        log.debug("no report of an enrolment server: %s", error)
        return None
