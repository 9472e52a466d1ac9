"""Diagnoses a cluster from the reports of its daemons: each finding is one line, with advice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from broker_mesos.core.api.cluster import ClusterView
from broker_mesos.core.api.findings import Finding, Level, names
from broker_mesos.core.api.health import BusReport, CellReport, CertificateReport, HealthView, MasterReport, StoreReport
from broker_mesos.core.api.state import StateView
from broker_mesos.core.model.task_user import SAME_USER
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus
from broker_mesos.operator.doctor_access import check_left_users, check_policies
from broker_mesos.operator.doctor_isolation import isolation
from broker_mesos.runtime.tls import date_text

OLDEST_RABBITMQ = (3, 10)
OLDEST_REDIS = (6, 2)
SKEW_WARNING = 1.0
SKEW_ERROR = 30.0
"""Maximum difference of two clocks, in seconds."""
SLOW_SECONDS = 0.1
"""Round trip to a server, in seconds, from which on every decision is slow."""
LEASE_WARNING = 1.5
LEASE_ERROR = 4.0
"""Age of a lease, in seconds. Owners renew their leases every second."""
INBOX_WARNING = 10_000
OUTBOX_WARNING = 1_000
OUTBOX_ERROR = 10_000
"""Number of messages; at the last one a cell stops deciding."""
CERTIFICATE_WARNING_DAYS = 14
"""Time before the end of a certificate from which on it is a finding, in days."""


def find_problems(
    health: HealthView, cluster: ClusterView | None, state: StateView | None, clock: tuple[float, float]
) -> list[Finding]:
    """All findings from the reports of the masters. ``clock`` is the time of this process before and after the
    masters were asked, in seconds since the epoch."""
    found: list[Finding] = []
    for report in health.masters:
        # The report of one master is enough where all have the same servers and no problem.
        store = list(check_store(report.store, f"store, by {report.master_id}"))
        bus = list(check_bus(report.bus, f"broker, by {report.master_id}"))
        found += [each for each in (*bus, *store) if each not in found and not _is_reported(found, each)]
    found += _clocks(health.masters, clock)
    found += _masters(health, cluster)
    found += check_policies(health, cluster)
    if cluster is not None:
        found += _cells(health, cluster)
    found += _routes(health.masters)
    found += _dead_letters(health.masters)
    if state is not None:
        found += _members(state)
        found += check_left_users(health, state)
    return found


def _is_reported(found: Sequence[Finding], new: Finding) -> bool:
    what = new.subject.partition(",")[0]
    return any(
        (each.level, each.found) == (new.level, new.found) and each.subject.partition(",")[0] == what for each in found
    )


# -- servers --------------------------------------------------------------------------------------------


def check_store(store: StoreReport, subject: str) -> Iterator[Finding]:
    """The findings about a store, as one process reports it."""

    def finding(level: Level, found: str, advice: str = "") -> Finding:
        return Finding(level=level, subject=subject, found=found, advice=advice)

    if store.error:
        yield finding("error", store.error, "solve this first: without it nothing is decided")
        return
    if store.in_process and store.server != "memory":
        yield finding("ok", f"{store.server} in the data folder of `bmesos local`")
        return
    if store.in_process:
        yield finding("ok", "in the memory of this process: nothing is kept, as `bmesos local` prints at its start")
        return
    if _version(store.server) < OLDEST_REDIS:
        yield finding("warning", f"{store.server} is older than the tested versions", "use Redis 6.2 or later")
    else:
        yield finding("ok", f"{store.server} answers")
    if store.round_trip >= SLOW_SECONDS:
        yield finding(
            "warning",
            f"slow: {store.round_trip * 1000:.0f} ms for one request",
            "check the load of this server and of its network; every decision waits for it",
        )
    if store.role not in ("", "master"):
        yield finding("error", f"it is a {store.role}", "name the primary in BMESOS_STORE_URL")
    if store.eviction == "":
        yield finding(
            "warning",
            "its eviction policy cannot be seen",
            "make sure that maxmemory-policy is noeviction, or allow INFO and CONFIG GET",
        )
    elif store.eviction != "noeviction":
        yield finding(
            "error",
            f"maxmemory-policy is {store.eviction}: it may delete records",
            "CONFIG SET maxmemory-policy noeviction, and write it into redis.conf",
        )
    else:
        yield finding("ok", "never evicts a key")
    yield from check_certificates(store.certificates, subject)
    yield _persistence(store, subject)
    if store.saving is False:
        yield finding(
            "error", "its last attempt to save to the disk failed", "free disk space, and see the log of Redis"
        )
    if store.max_memory and store.used_memory >= 0.75 * store.max_memory:
        full = store.used_memory / store.max_memory
        yield finding(
            "error" if full >= 0.95 else "warning",
            f"{full:.0%} of its maxmemory are used; when it is full nothing can be decided",
            "raise maxmemory",
        )


def _persistence(store: StoreReport, subject: str) -> Finding:
    always = "CONFIG SET appendfsync always, and write it into redis.conf"
    level: Level = "warning"
    if store.append_only is None:
        found = "its persistence cannot be seen"
        advice = "make sure of appendonly yes and appendfsync always, or allow INFO"
    elif not store.append_only:
        found = "has no append-only file: a restart loses what was accepted since its last snapshot"
        advice = "CONFIG SET appendonly yes and appendfsync always, and write both into redis.conf"
    elif store.fsync == "everysec":
        found = "appendfsync is everysec: a power failure loses up to a second of accepted work"
        advice = always
    elif store.fsync == "":
        found, advice = "appends to a file, but when that is forced to the disk cannot be seen", always
    elif store.fsync != "always":
        found = f"appendfsync is {store.fsync}: a power failure loses accepted work"
        advice = always
    else:
        level, found, advice = "ok", "every write is on the disk before it is answered", ""
    return Finding(level=level, subject=subject, found=found, advice=advice)


def check_bus(bus: BusReport, subject: str) -> Iterator[Finding]:
    """The findings about a broker, as one process reports it."""

    def finding(level: Level, found: str, advice: str = "") -> Finding:
        return Finding(level=level, subject=subject, found=found, advice=advice)

    if bus.error:
        yield finding("error", bus.error, "solve this first: without it no message is delivered")
        return
    if bus.in_process:
        yield finding("ok", "in the memory of this process")
        return
    if _version(bus.server) < OLDEST_RABBITMQ:
        yield finding("error", f"{bus.server} is too old", "use RabbitMQ 3.10 or later")
    else:
        yield finding("ok", f"{bus.server} answers")
    if bus.blocked:
        yield finding(
            "error",
            "it accepts no messages: a memory or disk alarm is active",
            "`rabbitmq-diagnostics alarms` shows which; once it is cleared, work continues",
        )
    elif not bus.connected:
        yield finding("error", "the connection for publishing is down", "see the master's log")
    if bus.round_trip >= SLOW_SECONDS:
        yield finding(
            "warning",
            f"slow: {bus.round_trip * 1000:.0f} ms for one request",
            "check the load of this server and of its network",
        )
    yield from check_certificates(bus.certificates, subject)


def check_certificates(certificates: Iterable[CertificateReport], subject: str) -> Iterator[Finding]:
    """The findings about certificates that end soon, or have ended."""
    for each in certificates:
        days = each.left / 86_400
        if days >= CERTIFICATE_WARNING_DAYS:
            continue
        ended = each.left <= 0
        when = date_text(each.ends)
        yield Finding(
            level="error" if ended else "warning",
            subject=subject,
            found=f"{each.name} expired on {when}" if ended else f"{each.name} expires on {when}, in {days:.0f} days",
            advice="renew it (`bmesos certs renew` if `bmesos certs` made it), and let its server read it again",
        )


def _version(server: str) -> tuple[int, ...]:
    numbers = re.search(r"(\d+)\.(\d+)", server)
    return tuple(int(number) for number in numbers.groups()) if numbers else (10**6,)


# -- masters and cells ----------------------------------------------------------------------------------


def _clocks(masters: Sequence[MasterReport], clock: tuple[float, float]) -> Iterator[Finding]:
    before, after = clock
    wrong = False
    for report in masters:
        here = max(before - report.time, report.time - after, 0.0)
        pairs = [(here, f"the clocks of {report.master_id} and here")]
        if not report.store.error:
            skew = abs(report.time - report.store.time) - report.store.round_trip
            pairs.append((skew, f"the clocks of {report.master_id} and its Redis"))
        for skew, whose in pairs:
            if skew >= SKEW_WARNING:
                wrong = True
                yield Finding(
                    level="error" if skew >= SKEW_ERROR else "warning",
                    subject="clocks",
                    found=f"{whose} differ by {skew:.1f} s",
                    advice="let NTP set the clock that is wrong",
                )
    if not wrong and masters:
        yield Finding(level="ok", subject="clocks", found="agree to within a second")


def _masters(health: HealthView, cluster: ClusterView | None) -> Iterator[Finding]:
    def finding(level: Level, found: str, advice: str = "") -> Finding:
        return Finding(level=level, subject="masters", found=found, advice=advice)

    if cluster is None:
        yield finding("error", "no master reports which master owns which cell", "see the masters' logs")
        return
    answered = {report.master_id for report in health.masters}
    if silent := [each for each in cluster.masters if each.master_id not in answered]:
        yield finding(
            "warning",
            f"{names(f'{each.master_id} on {each.hostname}' for each in silent)} did not answer",
            "check whether it hangs; a dead one is removed from the list within 3.5 s",
        )
    versions = sorted({each.version for each in cluster.masters})
    if len(versions) > 1:
        yield finding("warning", f"of different versions: {', '.join(versions)}", "finish the upgrade")
    in_process = any(report.store.in_process for report in health.masters)
    if len(cluster.masters) == 1 and not in_process:
        yield finding(
            "warning", "there is only one: no other master can take over from it", "start another `bmesos master`"
        )
    elif not silent and len(versions) <= 1:
        yield finding("ok", f"{len(cluster.masters)} of version {', '.join(versions)}")


def _cells(health: HealthView, cluster: ClusterView) -> Iterator[Finding]:
    reports = {cell.cell: cell for report in health.masters for cell in report.cells if not cell.error}
    reports |= {cell.cell: cell for report in health.masters for cell in report.cells if cell.error}
    good = 0
    for cell in cluster.cells:
        subject = f"cell {cell.cell}"
        found: list[Finding] = []
        if not cell.owner:
            found.append(
                Finding(
                    level="error",
                    subject=subject,
                    found="has no owner: nothing is decided in it",
                    advice="if this lasts, see the masters' logs",
                )
            )
        elif cell.age >= LEASE_WARNING:
            found.append(
                Finding(
                    level="error" if cell.age >= LEASE_ERROR else "warning",
                    subject=subject,
                    found=f"{cell.owner} has not renewed its lease for {cell.age:.1f} s",
                    advice="check whether that master and Redis keep up; another master takes over automatically",
                )
            )
        found += _queues(subject, reports.get(cell.cell))
        good += not found
        yield from found
    if good:
        text = f"{good} of {len(cluster.cells)} owned and keeping up"
        yield Finding(level="ok", subject="cells", found=text)


def _queues(subject: str, cell: CellReport | None) -> Iterator[Finding]:
    def finding(level: Level, found: str, advice: str) -> Finding:
        return Finding(level=level, subject=subject, found=found, advice=advice)

    if cell is None:
        return
    if cell.error:
        yield finding(
            "error",
            cell.error,
            "its arguments (delivery limit, single active consumer) must be the ones that masters declare",
        )
    for exchange in cell.unrouted:
        yield finding(
            "error",
            f"a message over the exchange {exchange!r} did not reach its inbox: the binding was lost",
            "masters bind it again within 30 s; if this lasts, restart the master that owns the cell",
        )
    if cell.consumers == 0:
        yield finding("error", "no master consumes its inbox", "see the masters' logs")
    if cell.inbox is not None and cell.inbox >= INBOX_WARNING:
        yield finding(
            "warning",
            f"{cell.inbox} messages wait in its inbox",
            "its owner does not keep up: check its CPU and the latency of Redis",
        )
    if cell.outbox is not None and cell.outbox >= OUTBOX_WARNING:
        yield finding(
            "error" if cell.outbox >= OUTBOX_ERROR else "warning",
            f"{cell.outbox} messages wait in its outbox",
            "RabbitMQ does not confirm what is published: see `rabbitmq-diagnostics alarms`",
        )


def _routes(masters: Sequence[MasterReport]) -> Iterator[Finding]:
    """The routes between cells and agents, as the owners of the cells find them."""
    routes = {cell.cell: cell.routes for report in masters for cell in report.cells if cell.routes is not None}
    for cell in (cell for cell, report in sorted(routes.items()) if report.heartbeats_lost):
        yield Finding(
            level="error",
            subject=f"cell {cell}",
            found="a message over the exchange 'heartbeats' did not reach its owner: the binding was lost",
            advice="its owner binds the queue again within 20 s; if it stays so, restart that master",
        )
    unbound = [ident for _, report in sorted(routes.items()) for ident in report.unbound]
    if unbound:
        yield Finding(
            level="error",
            subject="agents",
            found=f"a message over the exchange 'commands' did not reach {names(unbound)}: the binding was lost",
            advice="an agent binds its queue again within 20 s; if it stays so, restart the agent",
        )
    silent = [ident for _, report in sorted(routes.items()) for ident in report.silent]
    if silent:
        yield Finding(
            level="warning",
            subject="agents",
            found=f"no answer to a message to {names(silent)}",
            advice="see whether the agent hangs, or its machine or cell is overloaded",
        )
    probed = sum(report.probed for report in routes.values())
    if probed and not (unbound or silent):
        total = sum(report.agents for report in routes.values())
        yield Finding(level="ok", subject="routes", found=f"{probed} of {total} agents answer within a second")


def _dead_letters(masters: Sequence[MasterReport]) -> Iterator[Finding]:
    count = max((report.dead_letters for report in masters if report.dead_letters is not None), default=None)
    if count:
        yield Finding(
            level="warning",
            subject="dead letters",
            found=f"{count} messages could not be handled",
            advice="`bmesos dead-letters list` shows the reasons; retry or drop them",
        )
    elif count == 0:
        yield Finding(level="ok", subject="dead letters", found="none")


# -- agents and frameworks ------------------------------------------------------------------------------


def _members(state: StateView) -> Iterator[Finding]:
    for cell in state.missing:
        yield Finding(
            level="error",
            subject=f"cell {cell.cell}",
            found=f"did not answer: {cell.reason}",
            advice="see its owner's log",
        )
    contested = [agent for agent in state.agents if agent.contested]
    if contested:
        yield Finding(
            level="error",
            subject="agents",
            found="two machines use one agent id: "
            + names(f"{agent.agent_id} ({agent.hostname or '?'})" for agent in contested),
            advice="stop one of them, and give it a work folder of its own",
        )
    away = [agent for agent in state.agents if agent.state is AgentStatus.UNREACHABLE]
    count = state.counts.get("agents", len(state.agents))
    if state.truncated:
        yield Finding(
            level="ok",
            subject="agents",
            found=f"only the first {len(state.agents)} of {count} are checked",
            advice="`bmesos agents --after CURSOR` lists the others",
        )
    limited = [each for each in state.agents if each.usage.lends_less and each.state is AgentStatus.REGISTERED]
    if limited:
        yield Finding(
            level="warning",
            subject="agents",
            found=f"{len(limited)} lend less than they have: "
            + names(f"{each.agent_id} ({each.hostname or '?'}): {each.usage.lends_less}" for each in limited),
            advice="see their logs; for a disk: free some of it, or lower `sandbox_keep` or `min_free_disk`",
        )
    yield from isolation(state.agents)
    if away:
        yield Finding(
            level="warning",
            subject="agents",
            found=f"{len(away)} unreachable: " + names(f"{agent.agent_id} ({agent.hostname or '?'})" for agent in away),
            advice="check the machine; if it never comes back: `bmesos agents gone ID`",
        )
    elif not count and not state.missing:
        yield Finding(level="warning", subject="agents", found="there are none", advice="start one with `bmesos agent`")
    else:
        yield Finding(level="ok", subject="agents", found=f"{count}, all reachable")
    if same_user := [agent for agent in state.agents if SAME_USER in agent.attributes]:
        yield Finding(
            level="warning",
            subject="agents",
            found="tasks can read what their agent can, its password too, on "
            + names(f"{agent.agent_id} ({agent.hostname or '?'})" for agent in same_user),
            advice="give them a user of their own: start the agent as root or by its unit, without --same-user",
        )
    without_consumers = [each for each in state.frameworks if each.state is FrameworkStatus.DISCONNECTED]
    if without_consumers:
        yield Finding(
            level="warning",
            subject="frameworks",
            found="no process consumes the queues of " + names(each.framework_id for each in without_consumers),
            advice="start it again before its failover timeout ends its tasks",
        )
    else:
        living = sum(each.state is FrameworkStatus.SUBSCRIBED for each in state.frameworks)
        yield Finding(level="ok", subject="frameworks", found=f"{living} subscribed")
