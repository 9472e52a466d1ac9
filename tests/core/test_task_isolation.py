"""What tasks demand of isolation: what is refused, and which words an agent must have."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo
from broker_mesos.core.model.task_isolation import TaskIsolation, demanded_words
from broker_mesos.core.protocol.wire import first_problem

COMMAND = CommandInfo(arguments=("true",))


def job(resources: str = "cpus:1;mem:1024", **more: Any) -> JobSpec:
    return JobSpec(command=COMMAND, resources=resources, **more)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"limits": "mem:512"}, "limits.mem 512 is below mem 1024"),
        ({"limits": "cpus:0.5"}, "limits.cpus 0.5 is below cpus 1"),
        ({"limits": "disk:5"}, "limits: disk cannot be limited, only cpus and mem"),
        ({"limits": "cpus:[1-2]"}, "limits: cpus cannot be limited, only cpus and mem"),
        ({"isolation": {"pids": -1}}, "isolation.pids: pids -1: write a number of processes from 1 to 4194304"),
        (
            {"isolation": {"pids": 2**40}},
            f"isolation.pids: pids {2**40}: write a number of processes from 1 to 4194304",
        ),
        (
            {"isolation": {"rlimits": {"files": 1}}},
            "isolation.rlimits: rlimit 'files' is not known: use as, core, cpu, data, fsize, memlock, msgqueue, nice, "
            "nofile, nproc, rtprio, rttime, sigpending, stack",
        ),
        (
            {"isolation": {"rlimits": {"nofile": -2}}},
            "isolation.rlimits: rlimit nofile=-2: write a number of at least 0, or -1 for no limit",
        ),
        ({"isolation": {"network": "bridge"}}, "isolation.network: write '', 'host' or 'none'"),
        ({"isolation": {"level": "most"}}, "isolation.level: write '', 'limits' or 'sandboxed'"),
        (
            {"isolation": {"rootfs": "../x"}},
            "isolation.rootfs: rootfs '../x': write an absolute path on the agents' machines, without '..'",
        ),
        (
            {"isolation": {"image": "a b"}},
            "isolation.image: image 'a b': write the reference of an image, as in python:3.13",
        ),
        (
            {"isolation": {"image": "a", "rootfs": "/a"}},
            "isolation: rootfs and image are both root file systems: drop one of them",
        ),
        (
            {"resources": "cpus:1.5", "isolation": {"pin": True}},
            "pin is for whole CPUs: cpus 1.5 is not a whole number",
        ),
        ({"resources": "mem:5", "isolation": {"pin": True}}, "pin is for whole CPUs: cpus 0 is not a whole number"),
    ],
)
def test_what_cannot_be_held_is_refused_in_one_line(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        job(**fields)
    assert first_problem(caught.value) == words
    with pytest.raises(ValidationError) as caught:
        TaskInfo(**{"task_id": "t", "command": COMMAND, "resources": "cpus:1;mem:1024", **fields})
    assert first_problem(caught.value) == words


def test_a_limit_may_be_above_the_request_and_need_not_be_there() -> None:
    for limits in ("mem:1024", "mem:4096;cpus:8", "cpus:1", None):
        assert job(limits=limits).limits == (None if limits is None else Resources.parse(limits))


@pytest.mark.parametrize(
    ("isolation", "limits", "words"),
    [
        (None, None, ()),
        ({}, "mem:64", ()),
        ({"network": "host", "oom": "ignore"}, None, ()),
        ({}, "cpus:2", ("quota",)),
        ({"level": "limits"}, None, ("kill", "mem", "pids")),
        ({"level": "sandboxed"}, None, ("fs", "kill", "mem", "pid", "pids")),
        ({"pids": 5}, None, ("pids",)),
        ({"rlimits": {"core": 0}}, None, ("rlimits",)),
        ({"pin": True}, None, ("cpuset",)),
        ({"network": "none"}, None, ("fs", "kill", "mem", "net", "pid", "pids")),
        ({"rootfs": "/a.tar"}, None, ("fs", "kill", "mem", "pid", "pids", "rootfs")),
        ({"image": "a", "level": "limits", "network": "none", "pids": 5}, "cpus:2", ("images",)),
    ],
)
def test_demands_are_words_that_an_agent_must_have(
    isolation: dict[str, Any] | None, limits: str | None, words: tuple[str, ...]
) -> None:
    demand = None if isolation is None else TaskIsolation(**isolation)
    assert demanded_words(demand, None if limits is None else Resources.parse(limits)) == words


def test_a_demand_of_a_later_release_is_never_taken_for_none() -> None:
    with pytest.raises(ValidationError):
        TaskIsolation.model_validate_json('{"level": "machine"}')
