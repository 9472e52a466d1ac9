"""A cell with one agent on which one task was launched."""

from __future__ import annotations

from broker_mesos.core.model.agent import AgentTask
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat
from tests.core.cell.harness import Bench, offers_in, task


def bench_with_a_task() -> Bench:
    """A framework with one task, t1, launched on the agent a1."""
    bench = Bench()
    bench.framework("f1", failover_timeout=1e6)
    (offer,) = offers_in(bench.agent("a1", "cpus:4;mem:4096"))
    bench.accept(offer, task("t1", "cpus:1;mem:1024"))
    return bench


def running(ident: str = "t1", framework: str = "f1", resources: str = "cpus:1;mem:1024") -> AgentTask:
    return AgentTask(task_id=ident, framework_id=framework, resources=Resources.parse(resources))


def heartbeat(bench: Bench, applied: int, count: int, session: str | None = None):
    bench.wait(bench.limits.agent_beat)
    session = bench.session("a1") if session is None else session
    return bench.decide(AgentHeartbeat(agent_id="a1", session=session, applied=applied, running=count))
