"""``bmesos simulate``: a cluster of a size for which there are no machines."""

from __future__ import annotations

import json
from typing import Annotated, Any, Unpack

from broker_mesos.cli.connection import ConnectionOptions
from broker_mesos.cli.daemons import BrokerUrl, LogFormat, LogLevel, daemon_settings
from broker_mesos.cli.declare import Option
from broker_mesos.cli.options import Call, Cluster, Format, Output
from broker_mesos.errors import InvalidInput


def agents(
    call: Call,
    count: Annotated[int, Option("--count", min=1, max=100_000, metavar="N", help="Number of agents.")] = 10,
    cpus: Annotated[float, Option("--cpus", metavar="N", min=0, help="CPUs of each agent.")] = 2,
    mem: Annotated[float, Option("--mem", metavar="MB", min=0, help="Memory of each agent.")] = 2048,
    duration: Annotated[
        str,
        Option("--duration", metavar="TIME", help="How long tasks run: 30s, exp:30s, uniform:10s..50s."),
    ] = "30s",
    attributes: Annotated[
        str | None,
        Option("--attributes", metavar="TEXT", help="Attributes of the agents, as 'rack:r1'."),
    ] = None,
    prefix: Annotated[
        str, Option("--prefix", metavar="TEXT", help="Prefix of their ids, as sim-1; each process needs its own.")
    ] = "sim",
    report: Annotated[float, Option("--report", metavar="SECONDS", min=0.1, help="Time between two reports.")] = 5.0,
    output: Format = None,
    broker_url: BrokerUrl = None,
    cluster: Cluster = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    **connection: Unpack[ConnectionOptions],
) -> int:
    """Simulate agents whose tasks only take time.

    For masters and frameworks they are agents as any others, but no command is run. It works until Ctrl-C, which
    ends the tasks.
    """
    settings = daemon_settings(
        call, broker_url=broker_url, cluster=cluster, log_level=log_level, log_format=log_format, **connection
    )
    settings.need_broker()
    if settings.security == "on":
        raise InvalidInput(
            "security=on: simulated agents share one connection, and each agent must have a user of its own; simulate "
            "them on a cluster with security=off"
        )
    import random

    from broker_mesos.core.model.attributes import parse_attributes
    from broker_mesos.core.model.part import is_ident
    from broker_mesos.core.model.resources import Resources
    from broker_mesos.simulated.durations import durations
    from broker_mesos.simulated.runner import FleetPlan, run_fleet

    if not is_ident(f"{prefix}-{count}"):
        raise InvalidInput(f"--prefix {prefix[:64]!r}: use letters, digits, '.', '_' or '-', as in 'sim'")
    durations(duration, random.Random())
    resources = Resources.parse(f"cpus:{cpus:g};mem:{mem:.15g}")
    if not resources:
        raise InvalidInput("--cpus 0 --mem 0: agents that lend nothing are of no use")
    plan = FleetPlan(count, resources, duration, prefix, parse_attributes(attributes or ""), report)
    as_json = (output or call.output) is Output.json
    return run_fleet(settings, plan, _print_json if as_json else _print_line)


def _print_json(said: dict[str, Any]) -> None:
    print(json.dumps(said), flush=True)


def _print_line(said: dict[str, Any]) -> None:
    parts = [
        f"{said['seconds']:.0f} s: {said['registered']} of {said['agents']} agents registered",
        f"{said['running']} tasks run",
        f"{said['launched_per_second']:g} launched a second",
    ]
    if "refill_p50" in said:
        parts.append(
            f"a freed slot runs again after {1000 * said['refill_p50']:.0f} ms "
            f"(99%: {1000 * said['refill_p99']:.0f} ms)"
        )
    parts.append(f"{said['sent_per_second']:g} messages a second sent, {said['received_per_second']:g} received")
    print(", ".join(parts), flush=True)
