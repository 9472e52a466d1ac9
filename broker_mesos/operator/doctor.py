"""Judges what the cluster says about itself: one finding a line, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from broker_mesos.core.api.cluster import ClusterView
from broker_mesos.core.api.health import BusReport, CellReport, HealthView, MasterReport, StoreReport
from broker_mesos.core.api.state import StateView
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus

Level = Literal["ok", "warning", "error"]

OLDEST_RABBITMQ = (3, 10)
OLDEST_REDIS = (6, 2)
SKEW_WARNING = 1.0
SKEW_ERROR = 30.0
"""Seconds that two clocks may differ by."""
SLOW_SECONDS = 0.1
"""Seconds of one question to a server from which on every decision is slow."""
LEASE_WARNING = 1.5
LEASE_ERROR = 4.0
"""Seconds since a lease was renewed; that happens each second."""
INBOX_WARNING = 10_000
OUTBOX_WARNING = 1_000
OUTBOX_ERROR = 10_000
"""Messages; at the last one a cell stops deciding."""
MAX_NAMES = 5
"""Ids that one finding names."""


class Finding(Part):
    """One line of the doctor's."""

    level: Level
    subject: str
    found: str
    advice: str = ""
    """What to do; empty if that is nothing."""


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among findings."""
    levels = {finding.level for finding in findings}
    return "error" if "error" in levels else "warning" if "warning" in levels else "ok"


def find_problems(
    health: HealthView, cluster: ClusterView | None, state: StateView | None, asked: tuple[float, float]
) -> list[Finding]:
    """Everything that the masters know. ``asked``: our clock before and after they were."""
    found: list[Finding] = []
    for report in health.masters:
        # One master's word is enough, where all have the same servers and nothing is wrong.
        store = list(judge_store(report.store, f"store, by {report.master_id}"))
        bus = list(judge_bus(report.bus, f"broker, by {report.master_id}"))
        found += [each for each in (*bus, *store) if each not in found and not _is_reported(found, each)]
    found += _clocks(health.masters, asked)
    found += _masters(health, cluster)
    if cluster is not None:
        found += _cells(health, cluster)
    found += _dead_letters(health.masters)
    if state is not None:
        found += _members(state)
    return found


def _is_reported(found: Sequence[Finding], new: Finding) -> bool:
    what = new.subject.partition(",")[0]
    return any(
        (each.level, each.found) == (new.level, new.found) and each.subject.partition(",")[0] == what for each in found
    )


# -- servers --------------------------------------------------------------------------------------------


def judge_store(store: StoreReport, subject: str) -> Iterator[Finding]:
    """A Redis, as one process finds it."""

    def say(level: Level, found: str, advice: str = "") -> Finding:
        return Finding(level=level, subject=subject, found=found, advice=advice)

    if store.error:
        yield say("error", store.error, "mend that first: without it nothing is decided")
        return
    if store.in_process and store.server != "memory":
        yield say("ok", f"{store.server} in the data folder of `bmesos local`")
        return
    if store.in_process:
        yield say("ok", "in the memory of this process: nothing is kept, as `bmesos local` says")
        return
    if _version(store.server) < OLDEST_REDIS:
        yield say("warning", f"{store.server} is older than what was tested", "use Redis 6.2 or later")
    else:
        yield say("ok", f"{store.server} answers")
    if store.round_trip >= SLOW_SECONDS:
        yield say(
            "warning",
            f"slow: {store.round_trip * 1000:.0f} ms for one question",
            "see what else this server or its network does; every decision waits for it",
        )
    if store.role not in ("", "master"):
        yield say("error", f"it is a {store.role}", "name the primary in BMESOS_STORE_URL")
    if store.eviction == "":
        yield say(
            "warning",
            "its eviction policy cannot be seen",
            "make sure that maxmemory-policy is noeviction, or allow INFO and CONFIG GET",
        )
    elif store.eviction != "noeviction":
        yield say(
            "error",
            f"maxmemory-policy is {store.eviction}: it may throw facts away",
            "CONFIG SET maxmemory-policy noeviction, and write it into redis.conf",
        )
    else:
        yield say("ok", "evicts nothing")
    yield _persistence(store, subject)
    if store.saving is False:
        yield say("error", "its last attempt to save to the disk failed", "free disk space, and see Redis' own log")
    if store.max_memory and store.used_memory >= 0.75 * store.max_memory:
        full = store.used_memory / store.max_memory
        yield say(
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


def judge_bus(bus: BusReport, subject: str) -> Iterator[Finding]:
    """A RabbitMQ, as one process finds it."""

    def say(level: Level, found: str, advice: str = "") -> Finding:
        return Finding(level=level, subject=subject, found=found, advice=advice)

    if bus.error:
        yield say("error", bus.error, "mend that first: without it nobody hears of anything")
        return
    if bus.in_process:
        yield say("ok", "in the memory of this process")
        return
    if _version(bus.server) < OLDEST_RABBITMQ:
        yield say("error", f"{bus.server} is too old", "use RabbitMQ 3.10 or later")
    else:
        yield say("ok", f"{bus.server} answers")
    if bus.blocked:
        yield say(
            "error",
            "it takes no messages: an alarm over memory or disk",
            "rabbitmq-diagnostics alarms says which; free that, work goes on by itself",
        )
    elif not bus.connected:
        yield say("error", "the connection for publishing is down", "see the master's log")
    if bus.round_trip >= SLOW_SECONDS:
        yield say(
            "warning",
            f"slow: {bus.round_trip * 1000:.0f} ms for one question",
            "see what else this server or its network does",
        )


def _version(server: str) -> tuple[int, ...]:
    numbers = re.search(r"(\d+)\.(\d+)", server)
    return tuple(int(number) for number in numbers.groups()) if numbers else (10**6,)


# -- masters and cells ----------------------------------------------------------------------------------


def _clocks(masters: Sequence[MasterReport], asked: tuple[float, float]) -> Iterator[Finding]:
    before, after = asked
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
    def say(level: Level, found: str, advice: str = "") -> Finding:
        return Finding(level=level, subject="masters", found=found, advice=advice)

    if cluster is None:
        yield say("error", "no master can say who owns which cell", "see the masters' logs")
        return
    heard = {report.master_id for report in health.masters}
    if silent := [each for each in cluster.masters if each.master_id not in heard]:
        yield say(
            "warning",
            f"{_names(f'{each.master_id} on {each.hostname}' for each in silent)} did not answer",
            "see whether it hangs; within 3.5 s a dead one is not listed any more",
        )
    versions = sorted({each.version for each in cluster.masters})
    if len(versions) > 1:
        yield say("warning", f"of different versions: {', '.join(versions)}", "finish the upgrade")
    in_process = any(report.store.in_process for report in health.masters)
    if len(cluster.masters) == 1 and not in_process:
        yield say("warning", "there is only one: nobody takes over from it", "start another `bmesos master`")
    elif not silent and len(versions) <= 1:
        yield say("ok", f"{len(cluster.masters)} of version {', '.join(versions)}")


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
                    found="has no owner: nothing of it is decided",
                    advice="if that stays so, see the masters' logs",
                )
            )
        elif cell.age >= LEASE_WARNING:
            found.append(
                Finding(
                    level="error" if cell.age >= LEASE_ERROR else "warning",
                    subject=subject,
                    found=f"{cell.owner} has not renewed its lease for {cell.age:.1f} s",
                    advice="see whether that master and Redis keep up; another one takes over by itself",
                )
            )
        found += _queues(subject, reports.get(cell.cell))
        good += not found
        yield from found
    if good:
        text = f"{good} of {len(cluster.cells)} owned and keeping up"
        yield Finding(level="ok", subject="cells", found=text)


def _queues(subject: str, cell: CellReport | None) -> Iterator[Finding]:
    def say(level: Level, found: str, advice: str) -> Finding:
        return Finding(level=level, subject=subject, found=found, advice=advice)

    if cell is None:
        return
    if cell.error:
        yield say(
            "error",
            cell.error,
            "its arguments (delivery limit, single active consumer) must be the ones that masters declare",
        )
    for exchange in cell.unrouted:
        yield say(
            "error",
            f"a message over the exchange {exchange!r} did not reach its inbox: the binding was lost",
            "masters bind it again within 30 s; if it stays so, restart the master that owns the cell",
        )
    if cell.consumers == 0:
        yield say("error", "no master consumes its inbox", "see the masters' logs")
    if cell.inbox is not None and cell.inbox >= INBOX_WARNING:
        yield say(
            "warning",
            f"{cell.inbox} messages wait in its inbox",
            "its owner does not keep up: see its CPU and Redis' latency",
        )
    if cell.outbox is not None and cell.outbox >= OUTBOX_WARNING:
        yield say(
            "error" if cell.outbox >= OUTBOX_ERROR else "warning",
            f"{cell.outbox} messages wait in its outbox",
            "RabbitMQ does not confirm what is published: see rabbitmq-diagnostics alarms",
        )


def _dead_letters(masters: Sequence[MasterReport]) -> Iterator[Finding]:
    count = max((report.dead_letters for report in masters if report.dead_letters is not None), default=None)
    if count:
        yield Finding(
            level="warning",
            subject="dead letters",
            found=f"{count} messages could not be handled",
            advice="`bmesos dead-letters list` says why; retry or drop them",
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
            found="two machines use one agent id, and replace each other: "
            + _names(f"{agent.agent_id} ({agent.hostname or '?'})" for agent in contested),
            advice="stop one of them, and give it a work folder of its own",
        )
    away = [agent for agent in state.agents if agent.state is AgentStatus.UNREACHABLE]
    count = state.counts.get("agents", len(state.agents))
    if state.truncated:
        yield Finding(
            level="ok",
            subject="agents",
            found=f"only the first {len(state.agents)} of {count} are looked at",
            advice="`bmesos agents --after CURSOR` lists the others",
        )
    if away:
        yield Finding(
            level="warning",
            subject="agents",
            found=f"{len(away)} unreachable: "
            + _names(f"{agent.agent_id} ({agent.hostname or '?'})" for agent in away),
            advice="see to the machine; if it never comes back: `bmesos agents gone ID`",
        )
    elif not count and not state.missing:
        yield Finding(level="warning", subject="agents", found="there are none", advice="start one with `bmesos agent`")
    else:
        yield Finding(level="ok", subject="agents", found=f"{count}, all heard of")
    without_consumers = [each for each in state.frameworks if each.state is FrameworkStatus.DISCONNECTED]
    if without_consumers:
        yield Finding(
            level="warning",
            subject="frameworks",
            found="nobody consumes the queues of " + _names(each.framework_id for each in without_consumers),
            advice="start it again before its failover timeout ends its tasks",
        )
    else:
        living = sum(each.state is FrameworkStatus.SUBSCRIBED for each in state.frameworks)
        yield Finding(level="ok", subject="frameworks", found=f"{living} subscribed")


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - MAX_NAMES} more" if len(listed) > MAX_NAMES else ""
    return ", ".join(listed[:MAX_NAMES]) + more
