"""What the doctor makes of what the masters say."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.cluster import CellOwnership, ClusterView, MasterView
from broker_mesos.core.api.findings import Finding, worst
from broker_mesos.core.api.health import BusReport, CellReport, DaemonReport, HealthView, MasterReport, StoreReport
from broker_mesos.core.api.state import FrameworkTotal, MissingCell, StateView
from broker_mesos.core.model.agent import Usage
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus
from broker_mesos.operator.doctor import find_problems

NONE = Resources.parse("cpus:1")
REDIS = StoreReport(
    server="Redis 7.0.15",
    time=1000.0,
    round_trip=0.001,
    role="master",
    eviction="noeviction",
    append_only=True,
    fsync="always",
    saving=True,
)
RABBIT = BusReport(server="RabbitMQ 3.10.8", connected=True, round_trip=0.001)
CELL = CellReport(cell=0, inbox=3, consumers=2, outbox=1)


def master(name: str = "m1", **changes: object) -> MasterReport:
    good = {"time": 1000.0, "store": REDIS, "bus": RABBIT, "cells": (CELL,), "dead_letters": 0}
    return MasterReport(master_id=name, **{**good, **changes})


def cluster(masters: int = 2, owner: str = "m1", age: float = 0.2, version: str = "1") -> ClusterView:
    return ClusterView(
        cluster="c",
        version="1",
        masters=tuple(
            MasterView(master_id=f"m{n + 1}", hostname="h", pid=1, version=version if n else "1", age=0.1)
            for n in range(masters)
        ),
        cells=(CellOwnership(cell=0, owner=owner, term=1, age=age),),
    )


STATE = StateView(
    agents=(
        AgentView(
            agent_id="a1",
            cell=0,
            hostname="h",
            state=AgentStatus.REGISTERED,
            total=NONE,
            offered=Resources(),
            used=Resources(),
        ),
    ),
    frameworks=(
        FrameworkTotal(
            framework_id="batch",
            name="batch",
            roles=("*",),
            state=FrameworkStatus.SUBSCRIBED,
            wanted=False,
            allocated=Resources(),
            offered=Resources(),
            tasks=0,
            offers=0,
            dominant_share=0.0,
        ),
    ),
    counts={"agents": 1},
)


def diagnose(
    *masters: MasterReport,
    view: ClusterView | None = None,
    state: StateView | None = STATE,
    asked: tuple[float, float] = (999.9, 1000.1),
) -> list[Finding]:
    heard = masters or (master("m1"), master("m2"))
    return find_problems(HealthView(masters=heard, expected=2), view or cluster(), state, asked)


def only(found: list[Finding]) -> Finding:
    """The one finding that is not ok."""
    bad = [each for each in found if each.level != "ok"]
    assert len(bad) == 1, bad
    assert bad[0].advice
    return bad[0]


def test_a_healthy_cluster_has_nothing_but_ok() -> None:
    found = diagnose()
    assert worst(found) == "ok"
    # What two masters say alike is said once.
    assert len({(each.subject.partition(",")[0], each.found) for each in found}) == len(found)
    subjects = {each.subject.partition(",")[0] for each in found}
    assert subjects == {
        "broker", "store", "clocks", "masters", "cells", "dead letters", "agents", "frameworks"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"error": "Redis at h:1 cannot be reached"}, "error", "cannot be reached"),
        ({"server": "Redis 5.0.1"}, "warning", "older"),
        ({"round_trip": 0.3}, "warning", "300 ms"),
        ({"role": "slave"}, "error", "slave"),
        ({"eviction": "allkeys-lru"}, "error", "may delete records"),
        ({"eviction": ""}, "warning", "cannot be seen"),
        ({"append_only": False, "fsync": "everysec"}, "warning", "no append-only file"),
        ({"append_only": None}, "warning", "cannot be seen"),
        ({"fsync": "everysec"}, "warning", "up to a second"),
        ({"fsync": "no"}, "warning", "appendfsync is no"),
        ({"fsync": ""}, "warning", "cannot be seen"),
        ({"saving": False}, "error", "failed"),
        ({"used_memory": 80, "max_memory": 100}, "warning", "80%"),
        ({"used_memory": 99, "max_memory": 100}, "error", "99%"),
    ],
)
def test_what_is_wrong_with_redis_is_said(change: dict[str, object], level: str, words: str) -> None:
    store = REDIS.model_copy(update=change)
    found = only(diagnose(master("m1", store=store), master("m2", store=store)))
    assert (found.level, found.subject) == (level, "store, by m1")
    assert words in found.found


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"error": "RabbitMQ at h:1 cannot be reached"}, "error", "cannot be reached"),
        ({"server": "RabbitMQ 3.8.9"}, "error", "too old"),
        ({"blocked": True, "connected": False}, "error", "alarm"),
        ({"connected": False}, "error", "down"),
        ({"round_trip": 1.0}, "warning", "1000 ms"),
    ],
)
def test_what_is_wrong_with_rabbitmq_is_said(change: dict[str, object], level: str, words: str) -> None:
    found = only(diagnose(master("m1"), master("m2", bus=RABBIT.model_copy(update=change))))
    assert (found.level, found.subject) == (level, "broker, by m2")
    assert words in found.found


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"error": "exists with other arguments"}, "error", "other arguments"),
        ({"consumers": 0}, "error", "no master"),
        ({"inbox": 20_000}, "warning", "20000 messages wait in its inbox"),
        ({"outbox": 2_000}, "warning", "outbox"),
        ({"outbox": 10_000}, "error", "outbox"),
    ],
)
def test_what_is_wrong_with_a_cells_queues_is_said(change: dict[str, object], level: str, words: str) -> None:
    cells = (CELL.model_copy(update=change),)
    found = only(diagnose(master("m1", cells=cells), master("m2", cells=cells)))
    assert (found.level, found.subject) == (level, "cell 0")
    assert words in found.found


@pytest.mark.parametrize(
    ("view", "level", "words"),
    [
        (cluster(owner=""), "error", "no owner"),
        (cluster(age=2.0), "warning", "2.0 s"),
        (cluster(age=9.0), "error", "9.0 s"),
        (cluster(masters=1), "warning", "only one"),
        (cluster(masters=3), "warning", "m3 on h did not answer"),
        (cluster(version="2"), "warning", "1, 2"),
    ],
)
def test_what_is_wrong_with_masters_and_leases_is_said(view: ClusterView, level: str, words: str) -> None:
    found = only(diagnose(view=view))
    assert found.level == level and words in found.found


def test_clocks_that_differ_are_told_apart() -> None:
    late = REDIS.model_copy(update={"time": 1005.0})
    found = only(diagnose(master("m1"), master("m2", store=late)))
    assert (found.level, found.subject) == ("warning", "clocks") and "m2 and its Redis" in found.found
    here = [each for each in diagnose(asked=(900.0, 901.0)) if "m1 and here" in each.found]
    found = only(here)
    assert found.level == "error" and "m1 and here differ by 99.0 s" in found.found


def test_dead_letters_are_counted_once() -> None:
    found = only(diagnose(master("m1", dead_letters=3), master("m2", dead_letters=3)))
    assert (found.level, found.subject) == ("warning", "dead letters") and found.found.startswith("3 ")


def test_agents_and_frameworks_that_are_away_are_named() -> None:
    away = STATE.agents[0].model_copy(update={"state": AgentStatus.UNREACHABLE})
    found = only(diagnose(state=STATE.model_copy(update={"agents": (away,) * 7})))
    assert found.found.startswith("7 unreachable: a1 (h), ") and found.found.endswith(" and 2 more")
    unconsumed = STATE.frameworks[0].model_copy(update={"state": FrameworkStatus.DISCONNECTED})
    found = only(diagnose(state=STATE.model_copy(update={"frameworks": (unconsumed,)})))
    assert found.found == "no process consumes the queues of batch"
    found = only(diagnose(state=StateView(frameworks=STATE.frameworks)))
    assert found.found == "there are none"
    missing = (MissingCell(cell=0, reason="silent"),)
    found = only(diagnose(state=STATE.model_copy(update={"missing": missing})))
    assert (found.level, found.subject) == ("error", "cell 0")


def test_agents_whose_tasks_can_read_their_password_are_named() -> None:
    careless = STATE.agents[0].model_copy(update={"attributes": {"same-user": "yes"}})
    found = only(diagnose(state=STATE.model_copy(update={"agents": (careless,)})))
    assert (found.level, found.subject) == ("warning", "agents")
    assert found.found == "tasks can read what their agent can, its password too, on a1 (h)"


def test_what_cannot_be_asked_is_an_error_too() -> None:
    found = find_problems(HealthView(masters=(master(),), expected=1), None, None, (999.9, 1000.1))
    assert only(found).found.startswith("no master reports")


def with_policies(*digests: str) -> ClusterView:
    view = cluster(len(digests))
    masters = zip(view.masters, digests, strict=True)
    return view.model_copy(
        update={"masters": tuple(each.model_copy(update={"policy": digest}) for each, digest in masters)}
    )


def test_masters_with_different_access_policies_are_named() -> None:
    for digests in (("3f9a", "77bc"), ("3f9a", "")):
        found = only(diagnose(view=with_policies(*digests)))
        assert (found.level, found.subject) == ("warning", "access policy")
        assert f"m1 on h: 3f9a, m2 on h: {digests[1] or 'none'}" in found.found
    same = [each for each in diagnose(view=with_policies("3f9a", "3f9a")) if each.subject == "access policy"]
    assert [(each.level, each.found) for each in same] == [("ok", "the same at all masters (3f9a)")]


def daemon(kind: str, policy: str, **changes: object) -> DaemonReport:
    return DaemonReport(kind=kind, hostname="h2", pid=7, policy=policy, **changes)


def access_findings(*daemons: DaemonReport) -> list[Finding]:
    health = HealthView(masters=(master("m1"), master("m2")), expected=2, daemons=daemons)
    found = find_problems(health, with_policies("3f9a", "3f9a"), STATE, (999.9, 1000.1))
    return [each for each in found if each.subject == "access policy"]


@pytest.mark.parametrize("kind", ["batch worker", "web server", "enrolment server"])
def test_a_daemon_with_another_policy_than_the_masters_is_named(kind: str) -> None:
    for policy in ("77bc", ""):
        (found,) = access_findings(daemon("batch worker", "3f9a"), daemon(kind, policy))
        assert found.level == "warning" and f"({kind} 7 on h2: {policy or 'none'}, m1 on h: 3f9a" in found.found
    (same,) = access_findings(daemon(kind, "3f9a"))
    assert (same.level, same.found) == ("ok", f"the same at all masters, {kind}s (3f9a)")
    (kept,) = access_findings(daemon(kind, "3f9a", policy_problem="p.toml is not TOML"))
    assert kept.found == f"the {kind} on h2 keeps the last good one: p.toml is not TOML"


def test_agents_that_have_left_and_may_still_log_in_are_named() -> None:
    def left(*enrolled: str, state: StateView = STATE) -> list[str]:
        health = HealthView(masters=(master("m1"),), expected=1, enrolled=enrolled)
        found = find_problems(health, cluster(), state, (999.9, 1000.1))
        return [each.found for each in found if "agents forget" in each.advice]

    assert left("a1") == []
    assert left("a1", "agent-b") == ["1 that have left can still log in to RabbitMQ: agent-b"]
    # Whoever belongs to a part that is not shown may be there.
    assert left("agent-b", state=STATE.model_copy(update={"truncated": ("agents",)})) == []
    assert left("agent-b", state=STATE.model_copy(update={"missing": (MissingCell(cell=1, reason="x"),)})) == []


def test_a_policy_file_that_cannot_be_read_again_is_a_warning() -> None:
    broken = master("m2", hostname="h", policy_problem="/etc/policy.toml is not TOML: line 3")
    found = only(diagnose(master("m1"), broken, view=with_policies("3f9a", "3f9a")))
    assert (found.level, found.subject) == ("warning", "access policy")
    assert found.found == "m2 on h keeps the last good one: /etc/policy.toml is not TOML: line 3"


def test_agents_that_lend_less_than_they_have_are_named_with_the_reason() -> None:
    [agent] = STATE.agents
    short = agent.model_copy(
        update={"usage": Usage(lends_less="no task is started, since the disk is short: 1 MB is free")}
    )
    finding = only(diagnose(state=STATE.model_copy(update={"agents": (short,)})))
    assert finding.level == "warning"
    assert (
        finding.found == "1 lend less than they have: a1 (h): no task is started, since the disk is short: 1 MB is free"
    )
