"""All kinds of things that operators, agents and frameworks may say, for Hypothesis to choose from."""

from __future__ import annotations

from hypothesis import strategies as st

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import DEMAND_ROLES, GPU_RESOURCES, REVOCABLE_RESOURCES, Shape
from broker_mesos.core.model.reservation import Operation, Volume
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.quota.cluster_config import RoleSettings

R = Resources.parse
AGENTS = ("a1", "a2", "a3")
FRAMEWORKS = ("f1", "f2", "f3")
ROLES = ("*", "eng", "eng/db", "ops")
SIZES = (
    "cpus:4;mem:4096;disk:100;ports:[1-4]",
    "cpus:2;mem:1024",
    "cpus:8;mem:8192;gpus:2",
    "cpus:1;mem:64;disk:10",
)
STATICS = ((), (), (("eng", "cpus:1;mem:64"),), (("eng/db", "cpus:1"), ("ops", "mem:32")))
NEEDS = (
    "cpus:1;mem:64",
    "cpus:0.5;mem:32",
    "cpus:2;mem:1024",
    "mem:512",
    "cpus:1;ports:[1-1]",
    "cpus:1;gpus:1",
    "",
    "ports:2",
)
PARTS = ("cpus:1", "cpus:1;mem:512", "mem:100;disk:10", "cpus:3;mem:1000", "ports:[1-2]")
CONSTRAINTS = ("rack==r1", "rack!=r1", "hostname==a2")
HELD = ((), ("mem", "pids"), ("mem", "net"))
"""What agents hold tasks to."""
ROLE_SETS = (("*",), ("eng",), ("eng", "ops"), ("eng/db", "*"), ("eng", "eng/db", "ops"))

roles = st.sampled_from(ROLES)
agents = st.sampled_from(AGENTS)
frameworks = st.sampled_from(FRAMEWORKS)
groups = st.lists(st.sampled_from(CONSTRAINTS), max_size=2, unique=True).map(
    lambda texts: tuple(Constraint.parse(each) for each in texts)
)
shapes = st.builds(
    Shape,
    resources=st.sampled_from(NEEDS).map(R),
    count=st.sampled_from((0, 1, 1, 2, 5, 100)),
    role=roles,
    constraints=groups,
    revocable=st.sampled_from((False, False, True)),
    isolation=st.sampled_from(((), (), ("mem",), ("mem", "net"))),
)
infos = st.fixed_dictionaries(
    {
        "roles": st.sampled_from(ROLE_SETS),
        "capabilities": st.sampled_from(((), (GPU_RESOURCES,), (REVOCABLE_RESOURCES, GPU_RESOURCES), (DEMAND_ROLES,))),
        "offer_filters": st.sampled_from(({}, {}, {"eng": (R("cpus:2;mem:64"), R("mem:3000"))})),
        "offer_constraints": st.sampled_from(({}, {}, {"eng": ((Constraint.parse("rack==r1"),),)})),
        "packing": st.sampled_from(("binpack", "spread")),
    }
)
demands = st.fixed_dictionaries(
    {
        "wanted": st.sampled_from((True, True, True, False)),
        "suppressed": st.sampled_from(((), (), ("eng",), ("*", "ops"))),
        "roles": st.sampled_from(((), (), ("eng/db",), ("*", "ops"))),
        "shapes": st.none() | st.lists(shapes, min_size=1, max_size=3).map(tuple),
    }
)
settings_of_roles = st.builds(
    RoleSettings,
    weight=st.sampled_from((None, 0.5, 3.0)),
    guarantee=st.sampled_from(("", "", "cpus:1;mem:64", "cpus:3")).map(R),
    limit=st.sampled_from(({}, {}, {"cpus": 2_000}, {"cpus": 0}, {"cpus": 3_000, "mem": 1_000_000})),
    preempts=st.sampled_from((False, False, True)),
)
operations = st.one_of(
    st.builds(
        Operation,
        type=st.sampled_from(("RESERVE", "RESERVE", "UNRESERVE")),
        role=roles,
        resources=st.sampled_from(PARTS).map(R),
        operation_id=st.just("o"),
    ),
    st.builds(
        Operation,
        type=st.just("CREATE"),
        volume=st.builds(
            Volume,
            volume_id=st.sampled_from(("v1", "v2")),
            role=roles,
            size=st.just(R("disk:10")),
            shared=st.booleans(),
        ),
    ),
    st.builds(Operation, type=st.just("DESTROY"), volume_id=st.sampled_from(("v1", "v2"))),
)
