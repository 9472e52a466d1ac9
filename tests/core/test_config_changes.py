"""Changes to weights, quota and policy: what is possible, all or nothing."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.roles import RoleChange
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from broker_mesos.core.quota.config_changes import RoleUsage, limit_text, parse_limit, set_policy, set_roles
from broker_mesos.errors import BrokerMesosError, Conflict, InvalidInput

SOME = Resources.parse
NOTHING = ClusterConfig()
CLUSTER = RoleUsage(SOME("cpus:10;mem:10000"), {"eng": SOME("cpus:2"), "eng/db": SOME("cpus:3")})


def changed(config: ClusterConfig = NOTHING, force: bool = False, **roles: dict) -> ClusterConfig:
    changes = {name.replace("__", "/"): RoleChange(**change) for name, change in roles.items()}
    return set_roles(config, changes, CLUSTER, force=force)


def refusal(config: ClusterConfig = NOTHING, force: bool = False, **roles: dict) -> BrokerMesosError:
    with pytest.raises(BrokerMesosError) as caught:
        changed(config, force, **roles)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_limit_of_zero_stays_and_is_no_missing_limit() -> None:
    assert parse_limit(" cpus:0 ;mem:1.5") == {"cpus": 0, "mem": 1500}
    assert limit_text(parse_limit("mem:1.5;cpus:0")) == "cpus:0;mem:1.5"
    assert changed(eng={"limit": "gpus:0"}).roles["eng"].limit == {"gpus": 0}


@pytest.mark.parametrize(
    "text", ["", "cpus", "cpus:-1", "ports:[1-2]", "ports:[]", "kinds:{a}", "cpus:1;cpus:2", ":0", "cpus:x"]
)
def test_what_is_no_limit_is_refused_in_one_line(text: str) -> None:
    assert isinstance(refusal(eng={"limit": text}, force=True), InvalidInput)


@pytest.mark.parametrize("role", ["", "a//b", "/a", "a b", "-a", "a/../b", "é", "x" * 300])
def test_what_is_no_role_is_refused(role: str) -> None:
    with pytest.raises(InvalidInput):
        set_roles(ClusterConfig(), {role: RoleChange(weight=2)}, CLUSTER)


def test_what_is_not_named_stays_and_clear_unsets() -> None:
    config = changed(eng={"weight": 2, "limit": "cpus:8", "guarantee": "cpus:1", "preempts": True})
    config = changed(config, eng={"limit": "cpus:9"})
    assert config.roles["eng"].weight == 2 and config.roles["eng"].guarantee == SOME("cpus:1")
    config = changed(config, eng={"clear": ["guarantee", "limit"]})
    assert config.roles["eng"] == RoleSettings(weight=2, preempts=True)
    assert changed(config, eng={"clear": ["weight", "preempts"]}).roles == {}


def test_what_is_there_already_is_no_change_whatever_its_version() -> None:
    config = changed(eng={"weight": 2}).model_copy(update={"version": 7})
    again = {"eng": RoleChange(weight=2)}
    assert set_roles(config, again, CLUSTER, version=3) is config
    with pytest.raises(Conflict, match="version 7, not 3"):
        set_roles(config, {"eng": RoleChange(weight=3)}, CLUSTER, version=3)


def test_one_impossible_role_refuses_all_of_them() -> None:
    refusal(eng={"weight": 2}, ops={"guarantee": "cpus:11"})


def test_guarantees_beyond_the_cluster_are_refused_unless_forced() -> None:
    config = changed(a={"guarantee": "cpus:6"})
    assert "cluster has cpus:10" in str(refusal(config, b={"guarantee": "cpus:5"}))
    forced = changed(config, force=True, b={"guarantee": "cpus:5"})
    assert changed(forced, c={"weight": 2}).roles["c"].weight == 2  # what was forced is not judged again
    assert changed(forced, b={"guarantee": "cpus:4.5"})
    refusal(forced, c={"guarantee": "cpus:1"})


def test_a_guarantee_below_another_one_counts_within_it() -> None:
    config = changed(eng={"guarantee": "cpus:6"}, eng__db={"guarantee": "cpus:5"}, ops={"guarantee": "cpus:4"})
    assert "below eng" in str(refusal(config, eng__web={"guarantee": "cpus:2"}))
    assert "below eng" in str(refusal(config, eng={"guarantee": "cpus:4"}))
    assert changed(config, eng={"clear": ["guarantee"]})
    assert changed(config, force=True, eng={"guarantee": "cpus:4"})


def test_more_guaranteed_than_the_limit_is_never_possible() -> None:
    for roles in (
        {"eng": {"guarantee": "cpus:4", "limit": "cpus:3"}},
        {
            "eng": {"limit": "cpus:5"},
            "eng__db__x": {"guarantee": "cpus:3"},
            "eng__web": {"guarantee": "cpus:3"},
        },
        {"eng": {"guarantee": "mem:1", "limit": "mem:0"}},
    ):
        assert isinstance(refusal(force=True, **roles), InvalidInput)
    assert changed(eng={"guarantee": "mem:1", "limit": "cpus:5"})


def test_a_limit_below_what_is_held_by_the_role_and_those_below_is_refused_unless_forced() -> None:
    assert "holds cpus:5 now" in str(refusal(eng={"limit": "cpus:4;mem:0"}))
    assert changed(eng={"limit": "cpus:5"})
    config = changed(force=True, eng={"limit": "cpus:4"})
    assert changed(config, eng={"weight": 3}).roles["eng"].weight == 3


def test_since_tells_apart_limits_that_count_other_things() -> None:
    config = changed(eng={"limit": "cpus:8"})
    assert config.roles["eng"].since == 1
    config = config.model_copy(update={"version": 4})
    assert changed(config, eng={"limit": "cpus:9"}).roles["eng"].since == 1
    assert changed(config, eng={"limit": "cpus:9;mem:1"}).roles["eng"].since == 5
    cleared = changed(config, eng={"clear": ["limit"]}).model_copy(update={"version": 5})
    assert changed(cleared, eng={"limit": "cpus:9"}).roles["eng"].since == 6


def test_a_policy_that_is_not_installed_is_refused_with_those_that_are() -> None:
    known = ("drf", "priority")
    with pytest.raises(InvalidInput, match="choose one of drf, priority"):
        set_policy(ClusterConfig(), "fair", None, known)
    config = set_policy(ClusterConfig(), "priority", ["gpus", "gpus"], known)
    assert (config.policy, config.exclude) == ("priority", ("gpus",))
    assert set_policy(config, "", None, known) == config
    assert set_policy(config, "", [], known).exclude == ()
    with pytest.raises(InvalidInput):
        set_policy(config, "", ["a b"], known)
