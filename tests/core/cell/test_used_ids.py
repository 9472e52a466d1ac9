"""Ids of tasks that are used again."""

from __future__ import annotations

from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.agent_messages import UpdateStatuses
from broker_mesos.core.protocol.framework_messages import Acknowledge
from tests.core.cell.harness import Bench, offers_in, task


def test_late_repeat_of_a_status_does_not_end_the_task_that_has_its_id_now():
    bench = Bench()
    bench.agent("a1", "cpus:4;mem:4096")
    bench.framework("f1")
    [offer] = offers_in(bench.said)
    bench.accept(offer, task("t1", "cpus:1;mem:1"), refuse=0)
    first = bench.status("a1", "t1", TaskState.FINISHED).model_copy(update={"offer_id": offer.offer_id})
    update = UpdateStatuses(agent_id="a1", session=bench.session("a1"), statuses=(first,))
    bench.decide(update)
    bench.decide(Acknowledge(framework_id="f1", task_ids=("t1",)))
    [*_, offer] = offers_in(bench.said) or offers_in(bench.wait(2))
    bench.accept(offer, task("t1", "cpus:1;mem:1"))
    assert bench.state.tasks["t1"].state is TaskState.STAGING
    bench.decide(update)
    assert bench.state.tasks["t1"].state is TaskState.STAGING
