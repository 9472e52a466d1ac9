"""The options about limits and isolation, as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from broker_mesos.client.isolation import isolation_of
from broker_mesos.client.options import JobOptions, declared_in
from broker_mesos.client.spec import _ISOLATION, build_spec, describe
from broker_mesos.core.model.job import GUARD, JobSpec
from broker_mesos.core.model.task_isolation import TaskIsolation
from broker_mesos.errors import InvalidInput


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ({}, None),
        ({"pids": 5}, None),
        ({"mem": 64}, "mem:64"),
        ({"mem": 64, "limit": "mem=2G"}, "mem:2048"),
        ({"mem": 64, "limit": ["cpus=1.5", "mem=64M"]}, "cpus:1.5;mem:64"),
        ({"mem": 64, "limit": "mem=inf"}, None),
        ({"mem": 64, "limit": {"mem": "inf", "cpus": 2}}, "cpus:2"),
        ({"limit": {"mem": 256, "cpus": "inf"}}, "mem:256"),
        ({"resources": "mem:1024", "limit": "cpus=4"}, "cpus:4;mem:1024"),
    ],
)
def test_a_limit_replaces_what_the_request_implies(words: dict[str, Any], limits: str | None) -> None:
    assert describe(["true"], **words).get("limits") == limits
    assert str(build_spec(["true"], **words).limits or "None") == str(limits)


def test_all_demands_arrive_in_the_spec() -> None:
    words: dict[str, Any] = {
        "require_isolation": "limits",
        "pids": 64,
        "rlimit": ["nofile=65536,core=0", "stack=inf"],
        "pin": True,
        "network": "none",
        "rootfs": "/srv/root.tar",
        "oom": "ignore",
    }
    assert build_spec(["true"], **words).isolation == TaskIsolation(
        level="limits",
        pids=64,
        rlimits={"nofile": 65536, "core": 0, "stack": -1},
        pin=True,
        network="none",
        rootfs="/srv/root.tar",
        oom="ignore",
    )
    assert build_spec(["true"], image="python:3.13").isolation == TaskIsolation(image="python:3.13")
    assert build_spec(["true"], limit="cpus=2").isolation == TaskIsolation()
    for nothing in ({}, {"pin": False}, {"mem": 64}, {"limit": "mem=128"}):
        assert build_spec(["true"], **nothing).isolation is None  # type: ignore[arg-type]


def test_no_option_about_isolation_is_left_out() -> None:
    named = [name for name in declared_in(JobOptions) if name in _ISOLATION]
    assert len(named) == len(_ISOLATION)
    fields = {"require_isolation": "level", "rlimit": "rlimits"}
    assert {fields.get(name, name) for name in named} - {"limit"} == set(TaskIsolation.model_fields)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"limit": "mem"}, "limit 'mem': write limits of cpus and mem, as in cpus=4,mem=2G or mem=inf"),
        ({"limit": "disk=5"}, "limit 'disk': write limits of cpus and mem, as in cpus=4,mem=2G or mem=inf"),
        ({"limit": "mem=1,mem=2"}, "limit 'mem' is given twice"),
        ({"limit": "mem=x"}, "limit mem 'x': write megabytes, as in 512, or a size such as 512M or 2G"),
        ({"limit": "cpus=x"}, "limit cpus 'x': write a number of at least 0, as in 0.5 or 2"),
        ({"limit": {"cpus": True}}, "limit cpus True: write a number of at least 0, as in 0.5 or 2"),
        ({"require_isolation": "all"}, "require_isolation 'all': write limits or sandboxed"),
        ({"network": "bridge"}, "network 'bridge': write host or none"),
        ({"oom": "no"}, "oom 'no': write kill or ignore"),
        ({"pids": 0}, "pids 0: write a number of processes of at least 1"),
        ({"pids": True}, "pids True: write a number of processes of at least 1"),
        ({"rlimit": "nofile=many"}, "rlimit nofile='many': write numbers, as in nofile=65536,core=0, or inf"),
        ({"rlimit": "nofile"}, "rlimit 'nofile': write numbers, as in nofile=65536,core=0, or inf"),
        ({"rootfs": ""}, "rootfs is empty: leave it out, or name one"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(words: JobOptions, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        describe(["true"], **words)
    assert str(caught.value) == message


def test_what_only_the_model_knows_is_refused_in_one_line_as_well() -> None:
    with pytest.raises(InvalidInput, match=r"^limits\.mem 64 is below mem 128$"):
        build_spec(["true"], limit="mem=64")
    assert isolation_of({}) == {}


@pytest.mark.parametrize("words", [{"pids": 5}, {"limit": "cpus=2"}, {"oom": "ignore"}])
def test_a_release_that_does_not_know_the_demands_of_a_job_never_finds_an_agent_for_it(words: dict[str, Any]) -> None:
    described = describe(["true"], constraints="rack==r1", **words)
    assert described["constraints"] == ["rack==r1", str(GUARD)]
    spec = JobSpec.model_validate(described)
    assert [str(each) for each in spec.own_constraints] == ["rack==r1"]
    assert JobSpec.model_validate_json(spec.encode()) == spec
    # A worker of such a release stores what it knows of the job, and a later one reads that.
    for lost in ({"isolation"}, {"isolation", "limits"}):
        kept = JobSpec.model_validate({name: value for name, value in described.items() if name not in lost})
        assert not all(each.matches({"rack": "r1", "isolation": "limits"}, "h", "a") for each in kept.own_constraints)
        assert kept.isolation is None and JobSpec.model_validate_json(kept.encode()) == kept


def test_a_job_that_was_described_without_the_client_is_guarded_as_well() -> None:
    plain = describe(["true"])
    for more in ({"isolation": {"pids": 5}}, {"limits": "cpus:4"}):
        spec = JobSpec.model_validate({**plain, **more})
        assert spec.constraints == (GUARD,) and spec.own_constraints == () and spec.isolation is not None
    assert JobSpec.model_validate({**plain, "limits": "mem:256"}).constraints == ()
