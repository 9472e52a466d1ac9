"""The roles that frameworks may use by the access policy."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.access import AccessPolicy, parse_policy
from broker_mesos.core.model.framework import DEMAND_ROLES, Demand, FrameworkInfo
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.agent_messages import LaunchTasks
from broker_mesos.core.protocol.events import Error, Offers, OperationsUpdated, Rescind, Subscribed
from broker_mesos.core.protocol.framework_messages import Accept, FrameworkHeartbeat, Revive, Subscribe
from tests.core.cell.harness import Bench, of, offers_in, task, updates_in
from tests.core.cell.yard import create, reserve

USERS = {
    "principal": {"f1": {"task_users": ["eng"]}, "f2": {"task_users": ["*"]}, "f3": {}},
    "default": {"roles": ["*"], "task_users": ["guest"]},
}
POLICY = parse_policy({"principal": {"f1": {"roles": ["eng", "eng/*"]}, "f2": {}, "f3": {"roles": []}}})
ENG = ("eng",)


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.cell.use_access(POLICY, ("batch",))
    made.agent("a1", "cpus:4;mem:4096;disk:1000")
    return made


def run_as(ident: str, user: str) -> TaskInfo:
    made = task(ident, "cpus:1;mem:10")
    return made.model_copy(update={"command": made.command.model_copy(update={"user": user})})


def errors(said) -> list[str]:
    return [each.message for each in of(said, Error)]


def refusal(framework: str, role: str) -> str:
    return f"framework {framework} has no right to the role {role}: the policy must have it in the roles of "


@pytest.mark.parametrize(
    ("ident", "roles", "refused"),
    [
        ("f1", ("eng",), ""),
        ("f1", ("eng", "eng/db"), ""),
        ("f1", ("eng", "ops"), "ops"),
        ("f1", ("*",), "*"),
        ("f1", ("engine",), "engine"),
        ("f2", ("ops", "*"), ""),
        ("f3", ("eng",), "eng"),
        ("f4", ("*",), "*"),
        ("batch", ("ops",), ""),
    ],
)
def test_a_framework_subscribes_in_the_roles_of_its_principal(
    bench: Bench, ident: str, roles: tuple[str, ...], refused: str
) -> None:
    info = FrameworkInfo(framework_id=ident, roles=roles)
    said = bench.decide(Subscribe(framework_id=ident, framework=info))
    said += bench.decide(FrameworkHeartbeat(framework_id=ident, framework=info))
    if refused:
        assert len(errors(said)) == 2 and all(each.startswith(refusal(ident, refused)) for each in errors(said))
        assert of(said, Subscribed) == of(said, Offers) == [] and ident not in bench.state.frameworks
        # Whoever is refused may go on for ever: it is logged once.
        assert sum(len(each.warnings) for each in bench.decisions) == 1
    else:
        assert errors(said) == [] and offers_in(said)


def test_who_has_no_entry_has_the_roles_of_the_default(bench: Bench) -> None:
    bench.cell.use_access(parse_policy({"default": {"roles": ["guest"]}}), ())
    assert errors(bench.framework("f9", roles=("guest",))) == []
    assert errors(bench.framework("f8", roles=("*",)))
    for policy in (AccessPolicy(), parse_policy({"default": {"actions": []}})):
        bench.cell.use_access(policy, ())
        assert errors(bench.framework("f7", roles=("*",))), "who has no entry uses a role only if the default names it"


def test_a_demand_names_no_other_roles(bench: Bench) -> None:
    other = Demand(version=5, roles=("ops",))
    info = FrameworkInfo(framework_id="f1", roles=ENG, capabilities=(DEMAND_ROLES,))
    assert errors(bench.decide(Subscribe(framework_id="f1", framework=info, demand=other)))
    assert errors(bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info, demand=other)))
    (offer,) = offers_in(bench.decide(Subscribe(framework_id="f1", framework=info)))
    said = bench.decide(Revive(framework_id="f1", demand=other))
    assert errors(said) and bench.state.frameworks["f1"].roles == ENG
    said = bench.decide(
        Accept(framework_id="f1", offer_ids=(offer.offer_id,), tasks=(task("t1", "cpus:1;mem:10"),), demand=other)
    )
    assert errors(said) and bench.state.frameworks["f1"].roles == ENG
    assert "t1" in bench.state.tasks, "what it may do in the same call is done"


def test_an_accept_reserves_nothing_for_other_roles(bench: Bench) -> None:
    bench.cell.use_access(parse_policy({"principal": {"f1": {"roles": ["eng"]}}}), ())
    (offer,) = offers_in(bench.framework("f1", roles=ENG))
    operations = (
        reserve("eng/db", "cpus:1;mem:10", "below"),
        create("eng/db", "v1", 10, "volume"),
        reserve("eng", "cpus:1;mem:10", "own"),
    )
    said = bench.decide(Accept(framework_id="f1", offer_ids=(offer.offer_id,), operations=operations))
    statuses = {each.operation_id: each for message in of(said, OperationsUpdated) for each in message.statuses}
    assert {name: each.state for name, each in statuses.items()} == {
        "below": "OPERATION_ERROR",
        "volume": "OPERATION_ERROR",
        "own": "OPERATION_FINISHED",
    }
    assert statuses["below"].message.startswith(refusal("f1", "eng/db"))
    assert statuses["volume"].message.startswith(refusal("f1", "eng/db"))
    assert errors(said) == []


def test_a_role_that_is_taken_away_ends_the_offers_and_not_the_tasks(bench: Bench) -> None:
    (offer,) = offers_in(bench.framework("f1", roles=ENG, failover_timeout=60))
    bench.accept(offer, task("t1", "cpus:1;mem:10"))
    bench.report("a1", "t1", TaskState.RUNNING)
    bench.wait(10)
    assert bench.state.offers
    bench.cell.use_access(parse_policy({}), ())
    info = bench.state.frameworks["f1"].info
    said = bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info))
    assert errors(said) and of(said, Rescind) and not bench.state.offers and "t1" in bench.state.tasks
    said = bench.report("a1", "t1", TaskState.FINISHED)
    assert [each.state for each in updates_in(said)] == [TaskState.FINISHED]
    bench.cell.use_access(POLICY, ())
    said = bench.decide(FrameworkHeartbeat(framework_id="f1", framework=info))
    assert errors(said) == [] and offers_in(said)


@pytest.mark.parametrize(
    ("ident", "user", "allowed"),
    [
        ("f1", "eng", True),
        ("f1", "", True),
        ("f1", "ops", False),
        ("f1", "root", False),
        ("f2", "ops", True),
        ("f3", "", True),
        ("f3", "eng", False),
        ("f4", "guest", True),
        ("f4", "eng", False),
        ("batch", "ops", True),
    ],
)
def test_a_task_runs_as_no_user_that_its_framework_may_not_use(
    bench: Bench, ident: str, user: str, allowed: bool
) -> None:
    bench.cell.use_access(parse_policy(USERS), ("batch",))
    (offer,) = offers_in(bench.framework(ident))
    said = bench.accept(offer, run_as("t1", user), run_as("t2", ""))
    assert "t2" in bench.state.tasks, "tasks of the same accept that ask for no user start"
    assert ("t1" in bench.state.tasks) == allowed
    launched = {item.task.task_id for message in of(said, LaunchTasks) for item in message.launches}
    assert launched == ({"t1", "t2"} if allowed else {"t2"})
    if allowed:
        assert updates_in(said) == []
    else:
        (status,) = updates_in(said)
        assert (status.task_id, status.state, status.reason) == ("t1", TaskState.ERROR, Reason.TASK_INVALID)
        assert status.message == (
            f"framework {ident} has no right to run tasks as the user {user}: the policy must have it in the "
            f"task_users of [principal.{ident}]"
        )


def test_without_a_policy_the_agent_alone_decides_on_the_user_of_a_task() -> None:
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    (offer,) = offers_in(bench.framework("f1"))
    bench.accept(offer, run_as("t1", "ops"))
    assert "t1" in bench.state.tasks
