"""What fuzzing has found: each as a test of its own, with the rest of its kind."""

from __future__ import annotations

import json
import random
from pathlib import Path

import httpx
import pytest

from broker_mesos.cli import jobfile, options
from broker_mesos.client import spec
from broker_mesos.core.api.access import parse_policy
from broker_mesos.core.cell.inputs import Configured
from broker_mesos.core.model import job_array
from broker_mesos.core.model.attributes import parse_attributes
from broker_mesos.core.model.framework import MAX_DEMAND_VERSION, REVOCABLE_RESOURCES, Demand
from broker_mesos.core.model.job import Dependency
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.sandbox_path import check_patterns
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.quota import config_changes
from broker_mesos.core.quota.cluster_config import ClusterConfig, RoleSettings
from broker_mesos.errors import MAX_MESSAGE, Denied, InvalidInput, InvalidMessage, InvalidResources, NotFound
from broker_mesos.master import undecodable
from broker_mesos.runtime import settings
from broker_mesos.runtime.policy_file import read_policy
from broker_mesos.sdk.demand import DriverDemand
from broker_mesos.simulated.durations import durations
from broker_mesos.web import build_app
from tests.core.cell.harness import Bench, shape
from tests.fuzz.effort import check_line
from tests.operator.fakes import FakeCluster
from tests.sdk.cluster import FastClock


@pytest.mark.parametrize("type_name", ["SUBSCRIBE", "FRAMEWORK_HEARTBEAT", "FRAMEWORK_ABSENT"])
def test_a_call_that_describes_another_framework_is_refused(type_name: str) -> None:
    body = {"framework_id": "f3", "framework": {"framework_id": "f1"}}
    with pytest.raises(InvalidMessage, match="not that of the call"):
        decode(type_name, json.dumps(body).encode())


def reserved(*resources: str, volumes: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "version": 1,
        "reservations": [{"role": "eng", "resources": each} for each in resources],
        "volumes": [{"volume_id": f"v{at}", "role": "eng", "size": each} for at, each in enumerate(volumes)],
    }


@pytest.mark.parametrize(
    "value",
    [
        reserved("ports:[1-2]", "ports:[1-2]"),
        reserved("ports:[1-2]", "ports:2"),
        reserved("ports:[1-2]", "ports:{1}"),
        reserved("ports:{1}", "ports:{1}"),
        reserved("cpus:[1-2]"),
        reserved("disk:10", volumes=("ports:[1-2]", "ports:[1-2]")),
        reserved("disk:10", volumes=("disk:[1-2]", "disk:5")),
        reserved("volumes:{v0}", volumes=("disk:5", "volumes:{v0}")),
    ],
    ids=str,
)
@pytest.mark.parametrize("registers", [True, False])
def test_an_agent_that_reports_reservations_which_overlap_is_taken_as_it_is(
    value: dict[str, object], registers: bool
) -> None:
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096;disk:1000;ports:[1-4]", attempt="p.1")
    if registers:
        agent = {"agent_id": "a1", "resources": "cpus:4;mem:4096;disk:1000;ports:[1-4]"}
        body = {"agent": agent, "attempt": "p.2", "cells": 1, "list": {"reserved_resources": value}}
        bench.decide(decode("REGISTER_AGENT", json.dumps(body).encode()))
    else:
        body = {"agent_id": "a1", "session": bench.session("a1"), "list": {"reserved_resources": value}}
        bench.decide(decode("AGENT_LISTED", json.dumps(body).encode()))
    bench.framework("f1", roles=("eng",))
    bench.wait(2.0)
    kept = Resources.sum(each.resources for each in bench.state.agents["a1"].reservations)
    assert bench.state.agents["a1"].total.contains(kept)
    bench.take_over(bench.term + 1)
    assert bench.state.agents["a1"].reserved_resources.version == 1


def register(bench: Bench, resources: str, attempt: str, *tasks: dict[str, object], **listed: object) -> None:
    """The agent a1 registers, as if its list came from somewhere else."""
    body = {
        "agent": {"agent_id": "a1", "resources": resources},
        "attempt": attempt,
        "cells": 1,
        "list": {"tasks": tasks, **listed},
    }
    bench.decide(decode("REGISTER_AGENT", json.dumps(body).encode()))


def listed(task_id: str, resources: str, **more: object) -> dict[str, object]:
    return {"task_id": task_id, "framework_id": "f1", "resources": resources, **more}


@pytest.mark.parametrize(
    "resources",
    [("ports:[1-2]", "ports:[2-3]"), ("ports:[1-2]", "ports:2"), ("ports:{a}", "ports:[1-2]"), ("cpus:10", "disk:5")],
    ids=str,
)
def test_revocable_tasks_that_no_slack_could_hold_are_taken_as_their_agent_lists_them(
    resources: tuple[str, str],
) -> None:
    bench = Bench()
    bench.framework("f1", capabilities=(REVOCABLE_RESOURCES,))
    tasks = [listed(f"t{at}", each, revocable=True) for at, each in enumerate(resources)]
    register(bench, "cpus:4;mem:4096;ports:[1-4]", "p.1", *tasks)
    session = bench.session("a1")
    beat = {"agent_id": "a1", "session": session, "slack": "cpus:4;mem:4096;ports:[1-4]", "running": 2}
    bench.decide(decode("AGENT_HEARTBEAT", json.dumps(beat).encode()))
    bench.wait(2.0)
    bench.take_over(bench.term + 1)
    assert set(bench.state.tasks) == {"t0", "t1"}
    register(bench, "cpus:4;mem:4096;ports:[1-4]", "p.2")
    bench.wait(2.0)
    assert not bench.state.agents["a1"].slack_held


def test_an_agent_whose_resources_become_others_is_offered_beside_its_tasks_and_reservations() -> None:
    bench = Bench()
    bench.framework("f2", roles=("ops",))
    wanted = shape("cpus:[1-1];mem:10", role="eng")
    bench.framework("f1", roles=("eng",), demand=Demand(version=1, shapes=(wanted,)))
    kept = {"version": 1, "reservations": [{"role": "eng", "resources": "mem:100"}]}
    running = listed("t1", "cpus:1", role="eng")
    register(bench, "cpus:4;mem:4096", "p.1", running, reserved_resources=kept)
    bench.wait(2.0)
    register(bench, "cpus:[1-4];mem:4096", "p.2", running, reserved_resources=kept)
    bench.wait(30.0)
    assert bench.state.tasks["t1"].occupies


@pytest.mark.parametrize("wanted", ["cpus:[1-3];mem:100;ports:[1-2]", None])
@pytest.mark.parametrize("first", ["cpus:2;mem:80;ports:[1-2]", "ports:1;mem:80"])
def test_tasks_whose_resources_their_agent_has_no_more_are_preempted_without_a_failure(
    first: str, wanted: str | None
) -> None:
    bench = Bench()
    roles = {"eng": RoleSettings(weight=10.0, preempts=True), "ops": RoleSettings(weight=1.0)}
    bench.decide(Configured(ClusterConfig(version=1, policy="priority", roles=roles)))
    tasks = [listed("t1", first, role="ops"), listed("t2", "mem:20", role="ops")]
    bench.framework("f1", roles=("ops",), demand=Demand(version=1, wanted=False))
    for attempt, cpus in (("p.1", "cpus:4"), ("p.2", "cpus:[1-4]")):
        register(bench, f"{cpus};mem:100;ports:[1-4]", attempt, *tasks)
        bench.wait(2.0)
    shapes = (shape(wanted, role="eng"),) if wanted else None
    bench.framework("f2", roles=("eng",), demand=Demand(version=1, shapes=shapes))
    bench.wait(30.0)
    assert any(each.kill_requested for each in bench.state.tasks.values())


@pytest.mark.parametrize("text", ["ports:[0-9223372036854775807]", "ports:[1-600000000,700000000-1200000000]"])
def test_a_range_whose_members_could_not_be_summed_over_agents_is_refused(text: str) -> None:
    with pytest.raises(InvalidResources, match="members are more than 1000000000"):
        Resources.parse(text)
    with pytest.raises(InvalidMessage):
        decode("REGISTER_AGENT", json.dumps({"agent": {"agent_id": "a", "resources": text}}).encode())
    bench = Bench()
    for ident in ("a1", "a2"):
        bench.agent(ident, "cpus:1;mem:64;ports:[9223372035854775808-9223372036854775807]")
    bench.framework("f1")
    bench.wait(2.0)
    bench.take_over(bench.term + 1)
    assert bench.state.total.get("ports") == 2 * 10**12


@pytest.mark.parametrize("number", ["9" * 5_000, "\u0663", "\u00b2", "1" * 41])
def test_a_number_that_python_would_not_read_is_no_number(number: str) -> None:
    """As in the attempt of a registration, the id of an offer, a version and the header of a dead letter."""
    bench = Bench()
    for attempt in (f"p.{number}", "p.2", f"p.{number}"):
        bench.agent("a1", "cpus:1", attempt=attempt)
    assert bench.state.agents["a1"].attempt == f"p.{number}"
    offer = Offer(offer_id=f"o0-{'9' * 100}-1", framework_id="f", agent_id="a", cell=0, resources=Resources.EMPTY)
    assert offer.term == 0
    assert undecodable.version(f"1.{number}.3") == (1, 0, 3)
    with pytest.raises(InvalidInput):
        spec.megabytes("mem", f"{number}G")
    with pytest.raises(InvalidInput):
        spec.exit_codes(f"0001{number}")
    with pytest.raises(InvalidInput):
        spec.time_limit(10**5_000)


@pytest.mark.parametrize(
    ("type_name", "body"),
    [
        ("AGENT_REFUSED", {"message": "m", "cells": 1, "retry_after": 1.7e308}),
        ("AGENT_REFUSED", {"message": "m", "cells": 1, "retry_after": -1.0}),
        ("AGENT_REGISTERED", {"session": "s", "attempt": "a", "cell": 0, "heartbeat_interval": 1.7e308}),
        ("AGENT_REGISTERED", {"session": "s", "attempt": "a", "cell": 0, "heartbeat_interval": 0.0}),
        ("SET_HEARTBEAT", {"session": "s", "interval": 1e9}),
        ("KILL_TASKS", {"session": "s", "number": 1, "task_ids": ["t"], "grace": 1e9}),
    ],
)
def test_no_command_silences_an_agent_for_ever(type_name: str, body: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage):
        decode(type_name, json.dumps(body).encode())


def test_an_error_shows_no_more_than_the_beginning_of_a_long_text() -> None:
    long = "x" * 20_000
    for parse in (
        Dependency.parse,
        job_array.parse_array,
        spec.exit_codes,
        lambda text: spec.megabytes("mem", text),
        lambda text: spec.build_spec("true", locality_wait=text, prefer="rack==r1"),
        lambda text: options.environment([text]),
        lambda text: parse_policy({"principal": {text: {"tokens": 1}}}),
    ):
        with pytest.raises(InvalidInput) as raised:
            parse(long)
        assert len(str(raised.value)) < 500


def test_an_error_is_one_line_whatever_it_repeats() -> None:
    hostile = "a\nb\r\x1b[2J\u2028\ud800"
    for parse, text in (
        (lambda text: check_patterns(text, "", {}), "%%%\n"),
        (lambda text: check_patterns(text, "", {}), "%\u2028"),
        (parse_attributes, f"{hostile}:1;{hostile}:2"),
        (config_changes.parse_guarantee, "ports:[1-2];\n"),
        (config_changes.parse_guarantee, f"ports:[{','.join(str(2 * port) for port in range(3_000))}]"),
        (config_changes.parse_limit, "ports:[1-2,\n3-4]"),
        (Resources.parse, f"ports:[1-2];{'x' * 64}\n:1;{hostile}"),
    ):
        with pytest.raises(InvalidInput) as raised:
            parse(text)
        check_line(raised.value)
        assert str(raised.value).isprintable()
    for made in (InvalidInput(hostile * 1_000), NotFound("x" * 10_000 + "\n"), Denied("\n" * 2_000)):
        assert str(made).isprintable() and len(str(made)) <= MAX_MESSAGE
    with pytest.raises(InvalidResources) as raised:
        Resources.of(ports=[(0, 10**5_000)])
    check_line(raised.value)


@pytest.mark.parametrize("text", ["1" + "0" * 400 + "s", "exp:" + "9" * 400, "uniform:0.." + "9" * 400 + "d"])
def test_a_simulated_task_does_not_run_for_ever(text: str) -> None:
    with pytest.raises(InvalidInput, match="write how long a task runs"):
        durations(text, random.Random(1))


def test_a_setting_of_a_long_name_is_refused_with_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "bmesos.toml"
    file.write_text("9" * 5_000 + "cluster = 'c'\n")
    with pytest.raises(InvalidInput, match="unknown setting '9") as raised:
        settings.load(config=file)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 3_000, "!!int x", "!!timestamp x", "!!bool x", "!!float x"])
def test_a_file_with_a_number_without_end_or_deep_nesting_is_refused(value: str, tmp_path: Path) -> None:
    for read, name, text in (
        (lambda path: settings.load(config=path), "bmesos.toml", f"cells = {value}"),
        (read_policy, "policy.toml", f"[principal.ann]\nroles = {value}"),
        (jobfile.read, "job.toml", f"cpus = {value}"),
        (jobfile.read, "job.yaml", f"cpus: {value}"),
    ):
        file = tmp_path / name
        file.write_text(text)
        with pytest.raises(InvalidInput, match=r"not (TOML|YAML)") as raised:
            read(file)
        check_line(raised.value)


def test_a_cell_that_reports_the_highest_version_of_a_demand_again_and_again_breaks_no_driver() -> None:
    sent: list[int | None] = []
    demand = DriverDemand(FastClock(), first=None, competing=False, send=sent.append, interval=1.0)
    for _ in range(3):
        demand.outbid(MAX_DEMAND_VERSION)
        demand.state(wanted=True)
    assert demand.current.version == MAX_DEMAND_VERSION
    for version in (MAX_DEMAND_VERSION + 1, 10**30, -1):
        body = {"framework_id": "f", "cell": 0, "cells": 1, "demand": version}
        with pytest.raises(InvalidMessage):
            decode("SUBSCRIBED", json.dumps(body).encode())


async def test_a_stated_length_of_thousands_of_digits_is_too_long() -> None:
    transport = httpx.ASGITransport(build_app(FakeCluster()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as http:
        for path, status in (("/api/v1", 413), ("/healthz", 413)):
            answer = await http.post(path, content=b"{}", headers={"content-length": "9" * 5_000})
            assert answer.status_code == status


async def test_a_refusal_of_a_header_or_page_shows_no_more_than_its_beginning() -> None:
    transport = httpx.ASGITransport(build_app(FakeCluster(), cluster="mine"))
    headers = {"content-type": "application/json"}
    long = "x" * 20_000
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as http:
        for name in ("bmesos-timeout", "bmesos-cluster"):
            answer = await http.post("/api/v1", content=b'{"type": "GET_JOBS"}', headers={**headers, name: long})
            assert answer.status_code == 400 and len(answer.text) < 500
        assert len((await http.get(f"/{long}")).text) < 500
        assert len((await http.delete(f"/api/v1/jobs/{long}")).text) < 500
        answer = await http.post("/api/v1", content='{"type": "GET_JOBS"}'.encode("utf-16"), headers=headers)
        assert answer.status_code == 400 and "not JSON" in answer.text


async def test_a_refused_method_names_those_that_there_are() -> None:
    transport = httpx.ASGITransport(build_app(FakeCluster()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5050") as http:
        assert (await http.delete("/api/v1/jobs")).headers["allow"] == "GET"
        assert (await http.put("/api/v1")).headers["allow"] == "POST"


def test_a_token_that_is_no_text_is_a_wrong_token() -> None:
    with pytest.raises(Denied):
        parse_policy({}).authenticate("bm1_k3t9x2ab_" + "a" * 42 + "\ud800", 0.0)
