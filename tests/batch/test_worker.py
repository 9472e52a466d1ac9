"""The whole worker against a scripted cell, over the in-process bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog.testing

from broker_mesos.core.api.cluster import Hello
from broker_mesos.core.api.jobs import GetJob, GetJobs, GetTask, JobFilter, JobSummary, KillJob, SubmitJob, WaitJob
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import events, offers
from broker_mesos.core.protocol.events import EarlyStatuses, Error
from broker_mesos.core.protocol.framework_messages import Accept, Decline, Kill, Settle, Subscribe
from broker_mesos.core.protocol.records import AgentStatus
from broker_mesos.errors import Conflict, FrameworkRefused, InvalidInput, NotFound, Unavailable
from broker_mesos.frameworks.batch.job_feed import JobFeed
from broker_mesos.frameworks.batch.worker import BatchSettings
from broker_mesos.ports.bus import outgoing
from broker_mesos.ports.store import Change
from broker_mesos.runtime.clock import new_id
from broker_mesos.store.memory import MemoryRecords
from tests.batch.cluster import Cluster
from tests.batch.world import job, status

QUICK = BatchSettings(offer_timeout=0.05, sweep_interval=0.05, demand_interval=0.1)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with Cluster() as made:
        yield made


async def test_a_submit_can_wait_for_the_end(cluster: Cluster) -> None:
    await cluster.worker()
    ended = await cluster.ask(SubmitJob(job_id="j1", spec=job(), wait=20))
    assert (ended.state, ended.exit_code) == ("finished", 0)


async def test_a_submit_that_waits_is_answered_in_time(cluster: Cluster) -> None:
    await cluster.worker()
    spec = job(resources="cpus:100;mem:10")
    assert (await cluster.ask(SubmitJob(job_id="j1", spec=spec, wait=0.05))).state == "pending"


async def test_a_job_runs_and_its_end_reaches_whoever_waits(cluster: Cluster) -> None:
    await cluster.worker()
    submitted = await cluster.ask(SubmitJob(job_id="j1", spec=job(name="hello")))
    assert submitted.total == 1 and submitted.name == "hello"
    ended = await cluster.ask(WaitJob(job_id="j1"))
    assert (ended.state, ended.exit_code, ended.counts["finished"]) == ("finished", 0, 1)
    await cluster.cell.until(lambda: cluster.cell.acknowledged == ["j1.0.1"])
    await cluster.cell.until(lambda: not cluster.cell.demand.wanted)


async def test_a_task_sees_its_ids_in_its_environment(cluster: Cluster) -> None:
    await cluster.worker()
    command = CommandInfo(arguments=("a", "b"), environment={"X": "y"})
    await cluster.ask(SubmitJob(job_id="j1", spec=job(command=command, array=(7, 8))))
    await cluster.ask(SubmitJob(job_id="j2", spec=job(user="ann")))
    await cluster.ask(WaitJob(job_id="j1"))
    await cluster.ask(WaitJob(job_id="j2"))
    found = {task.task_id: task for task in cluster.cell.launched}
    assert found["j1.7.1"].command.environment == {
        "X": "y",
        "BMESOS_JOB_ID": "j1",
        "BMESOS_TASK_ID": "j1.7.1",
        "BMESOS_ARRAY_INDEX": "7",
        "BMESOS_ATTEMPT": "1",
    }
    assert found["j1.7.1"].labels == {"job": "j1"}
    assert found["j2.0.1"].labels == {"job": "j2", "owner": "ann"}
    assert "BMESOS_ARRAY_INDEX" not in found["j2.0.1"].command.environment


async def test_two_workers_share_an_array_and_each_task_runs_once(cluster: Cluster) -> None:
    await cluster.worker()
    await cluster.worker()
    await cluster.ask(SubmitJob(job_id="j1", spec=job(array=(1, 500))))
    ended = await cluster.ask(WaitJob(job_id="j1"))
    assert ended.counts["finished"] == 500
    assert sorted(task.task_id for task in cluster.cell.launched) == sorted(f"j1.{i}.1" for i in range(1, 501))


async def test_a_failed_task_is_tried_again_and_then_the_job_fails(cluster: Cluster) -> None:
    cluster.cell.ends = lambda task: TaskState.FAILED
    await cluster.worker()
    await cluster.ask(SubmitJob(job_id="j1", spec=job(retries=2)))
    ended = await cluster.ask(WaitJob(job_id="j1"))
    assert (ended.state, ended.exit_code) == ("failed", 3)
    attempts = [task.command.environment["BMESOS_ATTEMPT"] for task in cluster.cell.launched]
    assert attempts == ["1", "2", "3"]
    task = await cluster.ask(GetTask(task_id="j1"))
    assert (task.task_id, task.attempt, task.exit_code) == ("j1.0.3", 3, 3)


async def test_a_lost_accept_is_settled_and_the_task_runs_after_all(cluster: Cluster) -> None:
    cluster.cell.loses_accepts = True
    await cluster.worker(QUICK)
    await cluster.ask(SubmitJob(job_id="j1", spec=job()))
    await cluster.cell.until(lambda: cluster.cell.of(Accept))
    cluster.cell.loses_accepts = False
    ended = await cluster.ask(WaitJob(job_id="j1"))
    assert (ended.state, ended.counts["finished"]) == ("finished", 1)
    assert cluster.cell.of(Settle)[0].claims == (("j1.0.1", "o1"),)
    task = cluster.cell.launched[-1]
    assert task.task_id != "j1.0.1" and task.command.environment["BMESOS_ATTEMPT"] == "1"


async def test_a_job_whose_tasks_have_not_started_is_staging_until_one_has(cluster: Cluster) -> None:
    cluster.cell.loses_accepts = True
    await cluster.worker()
    await cluster.ask(SubmitJob(job_id="j1", spec=job(array=(1, 2))))
    await cluster.cell.until(lambda: cluster.cell.of(Accept))
    assert (await cluster.ask(GetJob(job_id="j1"))).summary.state == "staging"
    (listed,) = (await cluster.ask(GetJobs())).jobs
    assert (listed.state, listed.counts["running"]) == ("staging", 2)
    (listed,) = (await cluster.ask(GetJobs(which=JobFilter(states=("running",))))).jobs
    assert listed.state == "staging"
    cluster.cell.say(status("j1.2.1", TaskState.RUNNING))
    while (await cluster.ask(GetJob(job_id="j1"))).tasks[1].state != "running":
        await asyncio.sleep(0)
    assert (await cluster.ask(GetJob(job_id="j1"))).summary.state == "running"
    (listed,) = (await cluster.ask(GetJobs())).jobs
    assert listed.state == "running"


async def test_demand_that_its_worker_did_not_live_to_tell_is_told_by_another(cluster: Cluster) -> None:
    worker = await cluster.worker(QUICK)
    await cluster.cell.until(lambda: cluster.cell.demand.version > 0)
    await worker.store.submit("j1", job())  # stored, and never told
    ended = await cluster.ask(WaitJob(job_id="j1"))
    assert ended.state == "finished"


async def test_a_store_that_went_back_in_time_does_not_silence_demand(cluster: Cluster) -> None:
    await cluster.worker(QUICK)
    await cluster.ask(SubmitJob(job_id="j1", spec=job()))
    await cluster.ask(WaitJob(job_id="j1"))
    cluster.state.wipe()
    await cluster.ask(SubmitJob(job_id="j2", spec=job()))
    assert (await cluster.ask(WaitJob(job_id="j2"))).state == "finished"


async def test_a_killed_job_ends_its_tasks_and_starts_no_more(cluster: Cluster) -> None:
    cluster.cell.ends = lambda task: None
    await cluster.worker()
    await cluster.ask(SubmitJob(job_id="j1", spec=job(array=(0, 9))))
    await cluster.cell.until(lambda: len(cluster.cell.tasks) == 4)
    await cluster.ask(KillJob(job_id="j1"))
    ended = await cluster.ask(WaitJob(job_id="j1"))
    assert (ended.state, ended.exit_code, ended.counts["killed"]) == ("killed", 143, 10)
    assert len(cluster.cell.launched) == 4
    assert (await cluster.ask(KillJob(job_id="j1"))).state == "killed"
    killed = {task_id for call in cluster.cell.of(Kill) for task_id in call.task_ids}
    assert killed == {task.task_id for task in cluster.cell.launched}


async def test_one_index_is_killed_and_its_neighbours_live(cluster: Cluster) -> None:
    cluster.cell.ends = lambda task: None
    await cluster.worker()
    await cluster.ask(SubmitJob(job_id="j1", spec=job(array=(1, 6), retries=5)))
    await cluster.cell.until(lambda: len(cluster.cell.tasks) == 4)
    await cluster.ask(KillJob(job_id="j1", index=2))
    await cluster.ask(KillJob(job_id="j1", index=6))
    await cluster.cell.until(lambda: len(cluster.cell.launched) == 5)
    assert set(cluster.cell.tasks) == {"j1.1.1", "j1.3.1", "j1.4.1", "j1.5.1"}
    cluster.cell.ends = lambda task: TaskState.FINISHED
    for task_id in list(cluster.cell.tasks):
        cluster.cell.end(task_id, TaskState.FINISHED)
    ended = await cluster.ask(WaitJob(job_id="j1"))
    assert (ended.state, ended.exit_code) == ("killed", 143)
    assert ended.counts == {"pending": 0, "running": 0, "finished": 4, "failed": 0, "killed": 2}
    with pytest.raises(NotFound, match="from 1 to 6"):
        await cluster.ask(KillJob(job_id="j1", index=7))


async def test_offers_that_come_with_nothing_to_run_are_declined_and_demand_ends(cluster: Cluster) -> None:
    worker = await cluster.worker(QUICK)
    await cluster.cell.until(lambda: cluster.cell.demand.version > 0)
    # Two workers that took the last work of two jobs at once each saw the other's: demand stayed.
    level = await worker.store.demand()
    records = MemoryRecords(cluster.state)
    changes = [Change("hset", "meta", "wanted", "1"), Change("hincrby", "meta", "demand_version", 1)]
    assert await records.transact([], changes) == [level.version + 1]
    await cluster.cell.until(lambda: cluster.cell.of(Decline) and not cluster.cell.demand.wanted)
    assert cluster.cell.demand.version == level.version + 2


async def test_a_waiting_job_says_why(cluster: Cluster) -> None:
    await cluster.worker()
    await cluster.ask(SubmitJob(job_id="big", spec=job(resources="cpus:64;mem:10")))
    await cluster.ask(SubmitJob(job_id="picky", spec=job(constraints=("rack==r9",))))
    view = await cluster.ask(GetJob(job_id="big"))
    assert view.summary.waiting == "it needs 64 cpus a task; the largest agent has 4"
    listed = await cluster.ask(GetJobs(active=True))
    assert listed.total == 2 and listed.jobs[0].job_id == "picky"
    assert listed.jobs[0].waiting == "no agent satisfies the constraint rack==r9"


async def test_a_job_on_an_unreachable_agent_says_so(cluster: Cluster) -> None:
    cluster.cell.ends = lambda task: None
    await cluster.worker()
    summary = await cluster.ask(SubmitJob(job_id="j1", spec=job(array=(0, 1))))
    await cluster.ask(WaitJob(job_id="j1", seen=summary.version, seconds=10))
    cluster.cell.agent_state = AgentStatus.UNREACHABLE
    view = await cluster.ask(GetJob(job_id="j1"))
    assert view.summary.waiting == (
        "2 tasks wait for agent a1, which is unreachable; if it never comes back: bmesos agents gone a1"
    )


async def test_a_job_that_does_not_fit_does_not_hold_up_one_that_does(cluster: Cluster) -> None:
    await cluster.worker()
    await cluster.ask(SubmitJob(job_id="big", spec=job(resources="cpus:64;mem:10", priority=5)))
    await cluster.ask(SubmitJob(job_id="small", spec=job()))
    assert (await cluster.ask(WaitJob(job_id="small"))).state == "finished"


async def test_submitting_twice_makes_one_job_and_another_spec_is_refused(cluster: Cluster) -> None:
    cluster.cell.ends = lambda task: None
    await cluster.worker()
    first, second = await asyncio.gather(*(cluster.ask(SubmitJob(job_id="j1", spec=job())) for _ in range(2)))
    assert first.submitted_at == second.submitted_at
    with pytest.raises(Conflict, match="choose a new id"):
        await cluster.ask(SubmitJob(job_id="j1", spec=job(name="other")))
    assert (await cluster.ask(GetJobs())).total == 1


async def test_what_is_unknown_is_not_found_and_what_is_not_ours_is_refused(cluster: Cluster) -> None:
    await cluster.worker()
    for request in (GetJob(job_id="x"), WaitJob(job_id="x"), KillJob(job_id="x"), GetTask(task_id="x.1.1")):
        with pytest.raises(NotFound, match="bmesos status"):
            await cluster.ask(request)
    with pytest.raises(InvalidInput, match="HELLO"):
        await cluster.ask(Hello())


async def test_waiting_ends_in_time_and_hears_of_progress(cluster: Cluster) -> None:
    cluster.cell.ends = lambda task: None
    await cluster.worker()
    await cluster.worker()
    summary = await cluster.ask(SubmitJob(job_id="j1", spec=job(array=(0, 5))))
    summary = await cluster.ask(WaitJob(job_id="j1", seen=summary.version, seconds=10))
    assert summary.counts["running"] == 4 and summary.ended_at is None
    same = await cluster.ask(WaitJob(job_id="j1", seconds=0.01))
    assert same.version == summary.version
    cluster.cell.end("j1.0.1", TaskState.FINISHED)
    later = await cluster.ask(WaitJob(job_id="j1", seen=summary.version, seconds=10))
    assert later.version > summary.version


async def test_a_store_that_is_away_fails_requests_and_loses_no_status(cluster: Cluster) -> None:
    cluster.cell.ends = lambda task: None
    await cluster.worker(QUICK)
    await cluster.ask(SubmitJob(job_id="j1", spec=job()))
    await cluster.cell.until(lambda: cluster.cell.tasks)
    cluster.state.available = False
    cluster.cell.end("j1.0.1", TaskState.FINISHED)
    with pytest.raises(Unavailable):
        await cluster.ask(GetJob(job_id="j1"))
    assert cluster.cell.acknowledged == []
    cluster.state.available = True
    assert (await cluster.ask(WaitJob(job_id="j1"))).state == "finished"
    await cluster.cell.until(lambda: cluster.cell.acknowledged == ["j1.0.1"])


async def test_a_worker_that_stops_leaves_its_tasks_to_the_others(cluster: Cluster) -> None:
    cluster.cell.ends = lambda task: None
    first = await cluster.worker()
    await cluster.ask(SubmitJob(job_id="j1", spec=job()))
    await cluster.cell.until(lambda: cluster.cell.tasks)
    await cluster.worker()
    first.stop()
    await asyncio.wait_for(cluster.workers[0][1], 20)
    cluster.cell.end("j1.0.1", TaskState.FINISHED)
    assert (await cluster.ask(WaitJob(job_id="j1"))).state == "finished"


async def test_a_worker_waits_for_a_store_that_is_away_at_its_start(cluster: Cluster) -> None:
    cluster.state.available = False
    starting = asyncio.create_task(cluster.worker())
    await asyncio.sleep(0)
    cluster.state.available = True
    await starting
    await cluster.ask(SubmitJob(job_id="j1", spec=job()))
    assert (await cluster.ask(WaitJob(job_id="j1"))).state == "finished"


async def test_an_end_is_heard_over_the_feed_of_another_worker(cluster: Cluster) -> None:
    ended = JobSummary(
        job_id="a.b", name="", state="finished", total=1, counts={}, submitted_at=1.0, ended_at=2.0, version=2
    )

    async def never(job_id: str) -> JobSummary:
        raise NotFound(job_id)

    bus = await cluster.bus()
    demand_publisher = JobFeed(bus, cluster.clock, new_id, never)
    hearer = JobFeed(bus, cluster.clock, new_id, never)
    listening = asyncio.create_task(hearer.listen())
    with hearer.watch("a.b") as watch:
        await asyncio.wait_for(hearer.listening.wait(), 20)
        demand_publisher.changed("a.b", ended)
        assert await watch.next_change(20) == ended
        hearer.changed("a.b", ended.model_copy(update={"ended_at": None, "version": 1}))
        assert await watch.next_change(0.01) is None  # what is older comes late
        again = ended.model_copy(update={"ended_at": None, "version": 3})
        demand_publisher.changed("a.b", again)
        assert await watch.next_change(20) == again  # a retry
    listening.cancel()


async def test_a_worker_ends_when_the_cluster_refuses_the_framework(cluster: Cluster) -> None:
    worker = await cluster.worker()
    await cluster.cell.until(lambda: cluster.cell.of(Subscribe))
    bus = await cluster.bus()
    assert await bus.publish(outgoing(events("batch"), Error(message="torn down"), new_id(), mandatory=True))
    with pytest.raises(FrameworkRefused, match="torn down"):
        await asyncio.wait_for(cluster.workers[0][1], 20)
    assert worker.driver is not None and worker.driver.failure == "torn down"


async def test_an_end_that_an_agent_tells_early_is_known_and_acknowledged_once_its_cell_tells_it(
    cluster: Cluster,
) -> None:
    worker = await cluster.worker()
    cluster.cell.ends = lambda task: None
    waiting = asyncio.create_task(cluster.ask(SubmitJob(job_id="j1", spec=job(), wait=20)))
    await cluster.cell.until(lambda: cluster.cell.launched)
    assert cluster.cell.launched[0].early
    told = status("j1.0.1", TaskState.FINISHED, exit_code=0, uuid="u1")
    bus = await cluster.bus()
    for _ in range(2):
        bus.publish(outgoing(offers("batch"), EarlyStatuses(statuses=(told,)), new_id()))
    assert (await waiting).state == "finished"
    assert cluster.cell.acknowledged == []
    cluster.cell.end("j1.0.1", TaskState.FINISHED, uuid="u1")
    await cluster.cell.until(lambda: cluster.cell.acknowledged == ["j1.0.1"])
    assert (await worker.store.summary("j1")).counts["finished"] == 1


async def test_an_early_word_that_comes_twice_at_once_is_applied_once(cluster: Cluster) -> None:
    worker = await cluster.worker()
    cluster.cell.ends = lambda task: None
    waiting = asyncio.create_task(cluster.ask(SubmitJob(job_id="j1", spec=job(), wait=20)))
    await cluster.cell.until(lambda: cluster.cell.launched)
    told = status("j1.0.1", TaskState.FINISHED, exit_code=0, uuid="u1")
    bus = await cluster.bus()
    with structlog.testing.capture_logs() as logs:
        await bus.publish(outgoing(offers("batch"), EarlyStatuses(statuses=(told, told)), new_id()))
        assert (await waiting).state == "finished"
        cluster.cell.end("j1.0.1", TaskState.FINISHED, uuid="u1")
        await cluster.cell.until(lambda: cluster.cell.acknowledged == ["j1.0.1"])
    assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []
    assert (await worker.store.summary("j1")).counts["finished"] == 1


@pytest.mark.slow
async def test_an_early_word_of_what_another_worker_claimed_is_heard(cluster: Cluster) -> None:
    await cluster.worker()
    await cluster.worker()
    cluster.cell.ends = lambda task: None
    bus = await cluster.bus()
    for number in range(4):
        waiting = asyncio.create_task(cluster.ask(SubmitJob(job_id=f"j{number}", spec=job(), wait=20)))
        await cluster.cell.until(lambda n=number: len(cluster.cell.launched) > n)
        told = status(f"j{number}.0.1", TaskState.FAILED, exit_code=3, uuid=f"u{number}")
        bus.publish(outgoing(offers("batch"), EarlyStatuses(statuses=(told,)), new_id()))
        assert (await waiting).exit_code == 3
        cluster.cell.end(f"j{number}.0.1", TaskState.FAILED, uuid=f"u{number}")
        await cluster.cell.until(lambda n=number: len(cluster.cell.acknowledged) > n)


async def test_the_ends_of_many_come_from_their_cell_alone(cluster: Cluster) -> None:
    await cluster.worker()
    await cluster.ask(SubmitJob(job_id="j1", spec=job(array=(1, 5), resources="cpus:0.1;mem:10"), wait=20))
    assert [task.early for task in cluster.cell.launched] == [False] * 5
