"""Processes of the cluster are killed or frozen while a job runs: every task finishes, exactly once."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest
from redis import Redis

from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.store import keys
from tests.e2e.cluster import Daemon, until
from tests.faults.support import RESOURCES, Runs, Tap, Victim
from tests.servers import RabbitMQServer

SHORT = "sleep 0.1"


@pytest.mark.parametrize(
    "point",
    [
        "term.before-commit",
        "term.after-commit",
        "term.after-acknowledge",
        "term.after-publish",
        "outbox.confirmed",
    ],
)
def test_a_master_killed_at_any_step_of_its_cycle_loses_nothing(victim: Victim, point: str):
    runs = Runs(victim, 150, SHORT).submit().under_way()
    struck = victim.strike(point, 3)
    assert struck.kind == "master"
    runs.finished_exactly_once()


@pytest.mark.parametrize(
    "point",
    [
        "batch.before-claim",
        "batch.after-claim",
        "batch.after-accept",
        "batch.before-apply",
        "batch.after-apply",
    ],
)
def test_a_worker_killed_between_claim_and_acknowledgement_loses_no_index_and_doubles_none(victim: Victim, point: str):
    runs = Runs(victim, 150, SHORT).submit().under_way()
    struck = victim.strike(point, 2)
    assert struck.kind == "batch"
    runs.finished_exactly_once()


@pytest.mark.parametrize("point", ["agent.before-checkpoint", "agent.after-checkpoint", "agent.after-launch"])
def test_an_agent_killed_at_any_step_of_a_launch_finds_its_tasks_again(victim: Victim, point: str):
    runs = Runs(victim, 100, SHORT).submit().under_way()
    struck = victim.strike(point, 5)
    assert struck.kind == "agent"
    victim.heal()
    runs.finished_exactly_once()


def test_a_frozen_owner_is_replaced_and_what_it_says_late_is_refused(victim: Victim):
    """It freezes between commit and publish; thawed, it publishes under its old term, and has to stand by."""
    runs = Runs(victim, 150, "sleep 0.3").submit().under_way()
    frozen = victim.strike("term.after-acknowledge", 3, action="stop")
    (other,) = [each for each in victim.of("master") if each is not frozen]
    until("the other one owns every cell", lambda: owners(victim) == {other.pid})
    runs.finished_exactly_once()
    frozen.resume()
    until("it noticed", lambda: frozen.events("consumer closed") or frozen.events("the term ended"))
    # It is a standby like any other: it gets a cell back.
    until("it owns a cell again", lambda: owners(victim) == {other.pid, frozen.pid})
    Runs(victim, 20, SHORT).submit().finished_exactly_once()


def test_a_commit_of_a_frozen_owner_is_refused(victim: Victim):
    runs = Runs(victim, 150, "sleep 0.3").submit().under_way()
    frozen = victim.strike("term.before-commit", 3, action="stop")
    (other,) = [each for each in victim.of("master") if each is not frozen]
    until("the other one owns every cell", lambda: owners(victim) == {other.pid})
    frozen.resume()
    # Whichever it hears first: that its connection is closed, or that its commit is refused.
    until("it noticed", lambda: frozen.events("consumer closed") or frozen.events("the term ended"))
    runs.finished_exactly_once()


def test_a_lease_taken_by_force_ends_the_term_and_loses_nothing(victim: Victim):
    """Two leaders: somebody else writes itself into Redis while the owner works."""
    runs = Runs(victim, 150, SHORT).submit().under_way()
    redis = Redis.from_url(victim.redis_url)
    fenced = sum(map(fences, victim.of("master")))
    for cell in range(victim.cells):
        key = keys.cell(victim.name, cell).lease
        redis.hset(key, mapping={"nonce": "usurper", "owner": "usurper"})
        redis.hincrby(key, "term", 1)
    redis.close()
    until("both owners were refused", lambda: sum(map(fences, victim.of("master"))) >= fenced + victim.cells)
    runs.finished_exactly_once()


def close_when_there(server: RabbitMQServer, name: str, cut: Path) -> None:
    """Have the broker close the connection of this name as soon as a file is there, for a minute."""
    connections = server.ctl("list_connections", "-q", "--no-table-headers", "pid", "client_properties")
    (pid,) = [line.split()[0] for line in connections.splitlines() if name in line]
    close = f'rabbit_networking:close_connection(rabbit_misc:string_to_pid("{pid}"), "test")'
    turn = f'case filelib:is_file("{cut}") of true -> {close}; false -> timer:sleep(10), F(F, N - 1) end'
    server.ctl("eval", f"spawn(fun() -> F = fun(F, N) when N > 0 -> {turn}; (_, _) -> ok end, F(F, 6000) end).")


def test_two_leaders_at_once_run_nothing_twice(victim: Victim, rabbitmq_server: RabbitMQServer):
    """The owner freezes with messages committed but not sent; its consuming connection is cut, so that the
    other one takes over and sends them; thawed at once, it sends the same under the old term over the
    connection that it still has."""
    queues = [Queue(QueueKind.AGENT_COMMANDS, each.agent_id) for each in victim.client().agents()]
    queues.append(Queue(QueueKind.FRAMEWORK_EVENTS, "batch"))
    # Prepared before: the broker gives up a frozen owner's connections after some seconds of silence, which another
    # rabbitmqctl may take to start.
    cuts = {master.pid: victim.tmp / f"cut.{master.pid}" for master in victim.of("master")}
    for pid, cut in cuts.items():
        close_when_there(rabbitmq_server, f"bmesos master {pid} (consume)", cut)
    runs = Runs(victim, 150, SHORT).submit().under_way()
    with Tap(victim, [Topology(victim.name).queue_spec(queue).bindings[0] for queue in queues]) as tap:
        frozen = victim.strike("term.before-publish", 2, action="stop")
        cuts[frozen.pid].touch()
        (other,) = [each for each in victim.of("master") if each is not frozen]
        until("the other one owns every cell", lambda: owners(victim) == {other.pid})
        frozen.resume()
        runs.finished_exactly_once()
    # That they did go out late is the point: a higher term was seen before a lower one.
    late = [
        (queue, term)
        for queue, terms in tap.terms().items()
        for at, term in enumerate(terms)
        if term and term < max(terms[: at + 1])
    ]
    assert late, "the frozen owner's messages were not sent late"


def test_an_agent_killed_finds_its_tasks_again_with_their_exit_codes(victim: Victim):
    """Tasks outlive it: those that end without an agent as well as those that do not."""
    long = Runs(victim, 4, "sleep 4").submit()
    short = Runs(victim, 8, "sleep 1; test $BMESOS_ARRAY_INDEX != 5 || exit 7", retries=0).submit()
    until("they run", lambda: long.begun() == 4 and short.begun() == 8)
    for agent in victim.of("agent"):
        agent.kill()
    pids = [pid for pid, command in victim.left().items() if "sleep" in command]
    assert pids
    until("the short ones have ended", lambda: not any("sleep 1" in each for each in victim.left().values()))
    victim.heal()
    summary = short.ended()
    assert (summary.state, summary.exit_code, summary.counts["finished"]) == ("failed", 7, 7)
    assert set(short.counted().values()) == {1}
    long.finished_exactly_once()


def test_a_rebooted_machine_loses_its_tasks_once_and_they_run_again_where_the_job_allows(victim: Victim):
    runs = Runs(victim, 16, "sleep 3", retries=1).submit()
    until("they run", lambda: runs.begun() == 16)
    agent = victim.of("agent")[0]
    agent_id = victim.agent_id(agent)
    (lost,) = [each.tasks for each in victim.client().agents() if each.agent_id == agent_id]
    assert lost
    agent.kill()
    # A reboot ends every process of the machine: tasks, and the spawner.
    assert agent.work_dir is not None
    for pid, command in victim.left().items():
        if str(agent.work_dir) in command or str(agent.work_dir) in environ(pid):
            os.kill(pid, signal.SIGKILL)
    with victim.with_environment(BMESOS_BOOT_ID="another-boot"):
        victim.agent(resources=RESOURCES, work_dir=agent.work_dir).ready()
    assert runs.ended().state == "finished"
    tasks = list(runs.job.tasks())
    again = [task for task in tasks if task.attempt == 2]
    assert len(again) == lost
    assert runs.counted() == {str(task.index): task.attempt for task in tasks}
    runs.nothing_left()
    # The next boot is another one again, for the agent that `heal` would keep.
    victim.of("agent")[-1].kill()


def test_a_submit_killed_in_the_middle_and_repeated_with_its_id_makes_one_job(victim: Victim):
    job_id = f"mine-{uuid.uuid4().hex[:8]}"
    runs = Runs(victim, 30, SHORT)
    words = ["submit", "--job-id", job_id, "--array", "30", "--mem", "16", "--shell", runs.command]
    for worker in victim.of("batch"):
        worker.pause()
    batch = Topology(victim.name).queue_spec(Queue(QueueKind.OPERATOR_FRAMEWORK, "batch"))
    with Tap(victim, list(batch.bindings)) as tap:
        program = victim.cli_start(*words)
        until("its request is on the way", lambda: "SUBMIT_JOB" in tap.types())
        program.kill()
        program.wait()
    for worker in victim.of("batch"):
        worker.resume()
    done = [victim.cli(*words) for _ in range(2)]
    assert [(each.returncode, each.stdout.strip()) for each in done] == [(0, job_id)] * 2
    runs.job = victim.client().job(job_id)
    runs.finished_exactly_once()
    assert [each.job_id for each in victim.client().jobs()].count(job_id) == 1
    other = victim.cli(*words[:-1], "something else")
    assert other.returncode != 0 and job_id in other.stderr


def owners(victim: Victim) -> set[int | None]:
    """The process ids of the cells' owners."""
    return {each.pid for each in victim.client().cluster().cells}


def fences(master: Daemon) -> int:
    """How often a master's commit or renewal was refused."""
    return sum("usurper" in str(each["error"]) for each in master.events("the term ended"))


def environ(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
