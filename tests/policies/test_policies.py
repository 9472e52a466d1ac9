"""Policies from outside are found, and those that cannot be used harm nobody."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog.testing

from broker_mesos.core.cell.allocation.policies.builtin import BUILT_IN
from broker_mesos.core.cell.allocation.policies.policy import Policy, Shares
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.quota.cluster_config import ClusterConfig
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.plugins import GROUP, load_policies, policy_named
from tests.core.allocation.filling import claimants
from tests.core.cell.harness import Bench, offers_in

EXAMPLE = Path(__file__).parent / "example_policy"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Does what an installer does: modules, and beside them a dist-info with the entry points."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, entry_points: str, modules: dict[str, str]) -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        for module, text in modules.items():
            (tmp_path / f"{module}.py").write_text(text)
        importlib.invalidate_caches()

    yield put
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def install_example(install: Install) -> None:
    modules = {"smallest_first": (EXAMPLE / "smallest_first.py").read_text()}
    install("example_policy", (EXAMPLE / "entry_points.txt").read_text(), modules)


def test_a_policy_installed_from_outside_is_found_by_name_and_ranks(install: Install):
    install_example(install)
    policies = load_policies()
    assert set(policies) == {*BUILT_IN, "smallest-first"}
    policy = policy_named("smallest-first", policies)
    assert isinstance(policy, Policy)

    much_cpu, much_mem = who = claimants("a:much-cpu", "b:much-mem")
    held = {("a", "much-cpu"): Resources.of(cpus=9, mem=1), ("b", "much-mem"): Resources.of(mem=2)}
    ranking = policy.rank(who, Shares(Resources.of(cpus=10, mem=100), held))
    assert list(ranking.order()) == [much_cpu, much_mem]
    ranking.charge(much_cpu, Resources.of(mem=5))
    assert list(ranking.order()) == [much_mem, much_cpu]


@pytest.mark.parametrize(("name", "third"), [("drf", "f2"), ("smallest-first", "f1")])
def test_a_cell_divides_by_the_policy_that_is_named(install: Install, name: str, third: str):
    install_example(install)
    bench = Bench(policies=load_policies(), config=ClusterConfig(policy=name))
    bench.framework("f1")
    bench.framework("f2")
    agents = {"a": "cpus:8;mem:100", "b": "cpus:1;mem:800", "c": "cpus:1;mem:1000"}
    offered = [offers_in(bench.agent(agent, resources)) for agent, resources in agents.items()]
    assert [each.framework_id for (each,) in offered] == ["f1", "f2", third]


@pytest.mark.parametrize(
    ("value", "module", "why"),
    [
        ("no_such_module:POLICY", "", "No module named 'no_such_module'"),
        ("bad:MISSING", "", "has no attribute 'MISSING'"),
        ("bad:POLICY", "raise RuntimeError('first line\\nsecond')", "RuntimeError: first line second"),
        ("bad:POLICY", "raise SystemExit(3)", "SystemExit: 3"),
        ("bad:POLICY", "POLICY = 7", "it is no Policy"),
        ("bad:P", "from smallest_first import SmallestFirst as P", "it is a class: name an object of it"),
    ],
)
def test_one_that_cannot_be_used_is_left_out_with_a_warning_that_names_it(
    install: Install, value: str, module: str, why: str
):
    install_example(install)
    install("bad", f"[{GROUP}]\nbad-one = {value}\n", {"bad": module})
    with structlog.testing.capture_logs() as logs:
        assert set(load_policies()) == {*BUILT_IN, "smallest-first"}
    (warning,) = logs
    assert warning["log_level"] == "warning" and warning["policy"] == "bad-one"
    assert why in warning["reason"] and "\n" not in warning["reason"]


def test_a_built_in_policy_cannot_be_replaced(install: Install):
    install("other", f"[{GROUP}]\ndrf = smallest_first:SMALLEST_FIRST\n", {})
    with structlog.testing.capture_logs() as logs:
        assert load_policies() == BUILT_IN
    assert logs[0]["reason"] == "another policy has this name"


def test_an_unreadable_list_of_entry_points_leaves_the_built_in_policies(install: Install):
    install("broken", f"[{GROUP}]\nthis is no entry point\n", {})
    with structlog.testing.capture_logs() as logs:
        assert load_policies() == BUILT_IN
    assert [each["log_level"] for each in logs] == ["warning"]


def test_an_unknown_policy_is_refused_with_the_known_names():
    assert policy_named("drf", BUILT_IN) is BUILT_IN["drf"]
    with pytest.raises(InvalidInput, match="there is no policy 'fair': choose one of drf, priority, random"):
        policy_named("fair", BUILT_IN)
