"""Diagnoses who may do what: whether all daemons have the same access policy, and whose users are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from broker_mesos.core.api.cluster import ClusterView
from broker_mesos.core.api.findings import Finding, Level, names
from broker_mesos.core.api.health import DaemonReport, HealthView, MasterReport
from broker_mesos.core.api.state import StateView


def check_policies(health: HealthView, cluster: ClusterView | None) -> Iterator[Finding]:
    """The findings about the access policies of all daemons that check rights."""

    def finding(level: Level, found: str, advice: str = "") -> Finding:
        return Finding(level=level, subject="access policy", found=found, advice=advice)

    for report in health.masters:
        if report.policy_problem:
            yield finding(
                "warning",
                f"{report.master_id} on {report.hostname} keeps the last good one: {report.policy_problem}",
                "mend the file (`bmesos policy check FILE`), and send SIGHUP",
            )
    reports: list[MasterReport | DaemonReport] = [*health.masters, *health.daemons]
    for daemon in health.daemons:
        if daemon.policy_problem:
            yield finding(
                "warning",
                f"the {daemon.kind} on {daemon.hostname} keeps the last good one: {daemon.policy_problem}",
                "mend the file (`bmesos policy check FILE`), and send SIGHUP",
            )
    holders = [
        *(() if cluster is None else ((each.master_id, each.hostname, each.policy) for each in cluster.masters)),
        *((f"{each.kind} {each.pid}", each.hostname, each.policy) for each in health.daemons),
    ]
    digests = {policy for _, _, policy in holders}
    if len(digests) > 1:
        # Those that differ from most come first, since a finding lists a few names only.
        counts = Counter(policy for _, _, policy in holders)
        holders.sort(key=lambda each: counts[each[2]])
        each_one = names(f"{name} on {hostname}: {policy or 'none'}" for name, hostname, policy in holders)
        yield finding(
            "warning",
            f"daemons have different ones, and decide differently ({each_one})",
            "give all masters, batch workers, web and enrolment servers the same file, and send them SIGHUP",
        )
    elif digests - {""} and not any(report.policy_problem for report in reports):
        kinds = ", ".join(dict.fromkeys(["masters", *(f"{each.kind}s" for each in health.daemons)]))
        yield finding("ok", f"the same at all {kinds} ({', '.join(digests)})")


def check_left_users(health: HealthView, state: StateView) -> Iterator[Finding]:
    """Agents that have users on the broker, and that no cell knows: they have left, or have not begun yet."""
    if state.missing or state.truncated:
        return
    known = {agent.agent_id for agent in state.agents}
    if left := [each for each in health.enrolled if each not in known]:
        yield Finding(
            level="ok",
            subject="agents",
            found=f"{len(left)} that have left can still log in to RabbitMQ: {names(left)}",
            advice="if one does not come back, delete its user: `bmesos agents forget ID`",
        )
