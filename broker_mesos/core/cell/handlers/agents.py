"""Agents: registration, lists, heartbeats, and the detection of unreachable agents."""

from __future__ import annotations

from broker_mesos.core.cell.allocation import slack
from broker_mesos.core.cell.handlers import offers, operator_reservations, tasks
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.agent import AgentList
from broker_mesos.core.model.maintenance import Maintenance
from broker_mesos.core.model.part import whole_number
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState, may_move
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.agent_messages import (
    AgentHeartbeat,
    AgentListed,
    AgentRefused,
    AgentRegistered,
    ListTasks,
    RegisterAgent,
    Reregister,
    SetHeartbeat,
    UnregisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.events import Failure
from broker_mesos.core.protocol.limits import MISSED_BEATS, Instant
from broker_mesos.core.protocol.records import AgentStatus, FrameworkStatus, RecordKind

MAX_INFO_BYTES = 256 * 1024
"""The largest description of an agent, in bytes: each of its offers contains most of it."""
RUNNING_STATES = (TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING)
"""The states that a started task in an agent's list may have."""
NOT_SEEN = (TaskState.LOST, TaskState.DROPPED)
"""The states of outcomes that an agent reports for tasks whose end it has not seen."""
HINT_INTERVAL_SECONDS = 1.0
"""Shortest interval between two hints to the same agent, in seconds, so that the agent registers only once."""
MISMATCHED_HEARTBEATS = 2
"""Number of consecutive heartbeats that must disagree with the cell before it requests the list."""
HEARTBEAT_TOLERANCE = 1.5
"""Factor by which the interval of an agent's heartbeats may differ from the right one before it is corrected."""
CONTEST_SECONDS = 120.0
"""Time for which operators see that two machines use the id of an agent, in seconds; if these have replaced each other,
no task of the agent is declared lost in this time."""
RIVAL_SECONDS = 3.0
"""Time for which a refused agent leaves the queue of commands to another agent with its id, in seconds: longer than the
interval between two attempts of that one to consume the queue."""
MAX_PROCESSES = 8
"""The largest number of processes of an agent that are kept."""
UNSEEN_AGENTS = 10_000
"""The largest number of unknown agents for which the time of the last hint is kept."""


def on_register(state: CellState, call: RegisterAgent, out: Outlet, now: Instant) -> None:
    """Open a session. Commands of the earlier session that still wait in a queue are void from now on."""
    ident = call.agent.agent_id
    to = addresses.commands(ident)
    if call.cells != state.cells or cell_of(ident, state.cells) != state.cell:
        message = f"the agent does not belong to cell {state.cell} of {state.cells}; request the number of cells again"
        out.hint(to, AgentRefused(message=message, cells=state.cells))
        return
    if call.highest_term > state.term:
        out.decision.reclaim = max(out.decision.reclaim or 0, call.highest_term)
        return
    size = len(call.agent.encode())
    if size > MAX_INFO_BYTES:
        message = f"its resources and attributes take {size} bytes; at most {MAX_INFO_BYTES} are allowed"
        out.hint(to, AgentRefused(message=message, cells=state.cells))
        return
    agent = state.agents.get(ident)
    if agent is not None and _is_older(call.attempt, agent.attempt):
        return  # the agent has replaced this attempt by a later one
    if agent is not None and call.attempt and agent.attempt == call.attempt:
        if agent.session:
            out.hint(to, _registered(state, agent))
        else:
            # A late repeat of an attempt whose session has ended since. The agent may have applied commands of
            # that session, so that this list is outdated.
            message = "the session of this registration has ended; register again"
            out.hint(to, AgentRefused(message=message, cells=state.cells))
        return
    if agent is not None and (seconds := _live_for(state, agent, call, now)) > 0.0:
        agent.rival = _process_of(call.attempt)
        message = f"another agent with the id {ident} has a session, which it used less than {seconds:.0f} s ago"
        refusal = AgentRefused(message=message, cells=state.cells, attempt=call.attempt, retry_after=RIVAL_SECONDS)
        out.hint(to, refusal)
        return
    if agent is not None:
        _check_rivals(agent, call, out, now)
    was_gone = agent is not None and agent.state is AgentStatus.GONE
    if agent is None:
        agent = Agent(call.agent)
        agent.registered_at = now.wall
        state.add_agent(agent)
    else:
        offers.end_all(state, list(agent.offers.values()), out, "its agent has registered anew")
        slack.apply(state, agent, None, out)  # its heartbeats report the slack
        state.set_agent(agent, call.agent, AgentStatus.REGISTERED)
    agent.session = state.mint("x")
    agent.number = agent.applied = agent.behind = 0
    agent.attempt = call.attempt
    agent.boot_id = call.boot_id
    agent.beat = state.limits.beat_of(len(state.agents))
    agent.unreachable_at = None
    agent.last_heartbeat_at = now.mono
    agent.listed = True
    for task in agent.tasks.values():
        task.number = 0
    state.changed[ident] = None
    out.touch(RecordKind.AGENTS, ident)
    out.send(to, _registered(state, agent))
    operator_reservations.settle(state, agent, call.list.reserved_resources, out, current=True)
    _reconcile(state, agent, call.list, out, now, adopting=not was_gone, gone=was_gone)
    if now.mono < agent.replaced_until:
        return  # the other machine may run tasks that this one does not know
    for task in _missing(agent, call.list):
        _missing_in_new_session(state, agent, task, out, now)


def _live_for(state: CellState, agent: Agent, call: RegisterAgent, now: Instant) -> float:
    """For how long the session of the agent still counts as that of another agent with the same id, which is alive
    and runs tasks that this registration would end, in seconds; 0 if there is no such session.

    The daemon of a cloned machine or of a copied work folder gets the agent's queue of commands while the connection
    of the first one is down. Its list is then no evidence about the tasks of the first one: after another boot it
    knows that none of them runs on its own machine, and without one it knows those that ran when the folder was
    copied. After a reboot no heartbeat of the former session arrives any more."""
    process = _process_of(call.attempt)
    if not agent.session or not process or process == _process_of(agent.attempt):
        return 0.0
    if call.boot_id and agent.boot_id and call.boot_id != agent.boot_id:
        ends = any(not task.state.terminal for task in agent.tasks.values())
    else:
        known = call.list.model_copy(
            update={"outcomes": [each for each in call.list.outcomes if each.state not in NOT_SEEN]}
        )
        ends = any(task.details.launch is None for task in _missing(agent, known))
    timeout = MISSED_BEATS * (agent.beat or state.limits.agent_beat)
    return max(0.0, _last_heartbeat_at(state, agent) + timeout - now.mono) if ends else 0.0


def _check_rivals(agent: Agent, call: RegisterAgent, out: Outlet, now: Instant) -> None:
    """Detect two machines with one agent id, for instance a machine that was cloned with its work folder: a process
    registers again after another one was refused or has replaced it, so that both are alive. They would continue to
    replace each other, and each would cause the tasks of the other to be declared lost."""
    process = _process_of(call.attempt)
    if not process:
        return
    rival, agent.rival = agent.rival, ""
    if both_live := bool(rival) and rival != process and call.boot_id == agent.boot_id:
        did = "and the later one was refused"
    until = agent.contested_until
    if process != (agent.processes[-1] if agent.processes else _process_of(agent.attempt)):
        if process in agent.processes:
            did, both_live = "and replace each other", True
            agent.replaced_until = now.mono + CONTEST_SECONDS
        before = agent.processes or (_process_of(agent.attempt),)
        agent.processes = (*(each for each in before if each != process), process)[-MAX_PROCESSES:]
    if not both_live:
        return
    agent.contested_until = now.mono + CONTEST_SECONDS
    if now.mono >= until:
        out.decision.warnings.append(
            f"two machines use the agent id {agent.ident}, {did}: stop one of them, and give it a work folder of its"
            " own"
        )


def _process_of(attempt: str) -> str:
    """The process that has made a registration attempt; empty if the attempt does not name it."""
    return attempt.rpartition(".")[0]


def _is_older(attempt: str, than: str) -> bool:
    """Whether a registration attempt is older than another one of the same process."""
    process, _, number = attempt.rpartition(".")
    other, _, last = than.rpartition(".")
    if not process or process != other:
        return False
    one, another = whole_number(number), whole_number(last)
    return one is not None and another is not None and one < another


def _registered(state: CellState, agent: Agent) -> AgentRegistered:
    return AgentRegistered(
        session=agent.session,
        attempt=agent.attempt,
        cell=state.cell,
        heartbeat_interval=agent.beat or state.limits.agent_beat,
    )


def on_listed(state: CellState, call: AgentListed, out: Outlet, now: Instant) -> None:
    """Compare an agent's list with the state of the cell. Within a session, a task that the cell does not know has
    ended for the cell, and is killed, unless the store has lost data."""
    agent = _in_session(state, call.agent_id, call.session, out, now)
    if agent is None:
        return
    agent.last_heartbeat_at = now.mono
    young = not agent.listed
    if young:
        agent.listed = True
        out.touch(RecordKind.AGENTS, agent.ident)
        state.changed[agent.ident] = None
    current = call.list.applied >= agent.number
    operator_reservations.settle(state, agent, call.list.reserved_resources, out, current=current)
    _reconcile(state, agent, call.list, out, now, adopting=young)
    if now.mono < agent.replaced_until:
        return
    for task in _missing(agent, call.list):
        if (agent.number if task.number is None else task.number) <= call.list.applied:
            message = "its agent applied the launch and does not know the task any more"
            tasks.end(state, task, TaskState.LOST, Reason.AGENT_UNKNOWN_TASK, message, out, now)


def _reconcile(
    state: CellState,
    agent: Agent,
    listing: AgentList,
    out: Outlet,
    now: Instant,
    *,
    adopting: bool = True,
    gone: bool = False,
) -> None:
    """Apply the tasks and outcomes of an agent's list; the caller handles tasks that are missing in it. Tasks that the
    cell does not know are adopted, or killed if they must have ended before. ``gone``: the agent was marked as gone
    and its tasks were ended, so that outcomes of tasks which the cell does not know any more are not reported
    again."""
    for status in listing.outcomes:
        if gone and status.task_id not in state.tasks:
            out.acknowledge(agent.ident, status.uuid)
            continue
        tasks.on_status(state, agent.ident, status, out, now)
    for listed in listing.tasks:
        if listed.state not in RUNNING_STATES and not listed.waits:
            listed = listed.model_copy(update={"state": TaskState.RUNNING})
        task = state.tasks.get(listed.task_id)
        if task is None:
            framework = state.frameworks.get(listed.framework_id)
            ended = framework is not None and (
                framework.state is FrameworkStatus.TORN_DOWN
                or any(done.task_id == listed.task_id for done in framework.completed)
            )
            if ended or not adopting:
                out.kill(agent, listed.task_id)
                continue
            if not listed.revocable and not listed.waits and not agent.free.contains(listed.resources):
                offers.end_all(
                    state, list(agent.offers.values()), out, "its agent runs tasks that the cell did not know"
                )
            tasks.adopt(state, agent, listed, out, now)
        elif task.state.terminal or task.agent_id != agent.ident:
            out.kill(agent, listed.task_id)
        else:
            status = TaskStatus(
                task_id=listed.task_id,
                state=listed.state,
                uuid=state.mint("s"),
                agent_id=agent.ident,
                framework_id=task.framework_id,
                reason=Reason.AGENT_REREGISTERED,
                timestamp=now.wall,
                started_at=listed.started_at,
            )
            if task.details.launch is not None:
                task.details.launch = None  # it has arrived
                out.touch(RecordKind.TASKS, task.task_id)
            if may_move(task.state, listed.state) and not listed.waits:
                tasks.apply(state, task, status, out, now)
            if task.kill_requested:
                tasks.send_kill(state, task, out)


def _missing(agent: Agent, listing: AgentList) -> list[Task]:
    """The tasks of the agent that have not ended for the cell and are not in the list."""
    reported = {task.task_id for task in listing.tasks} | {status.task_id for status in listing.outcomes}
    return [task for task in agent.tasks.values() if not task.state.terminal and task.task_id not in reported]


def _missing_in_new_session(state: CellState, agent: Agent, task: Task, out: Outlet, now: Instant) -> None:
    if task.details.launch is None:
        message = "its agent registered again and does not know the task any more"
        tasks.end(state, task, TaskState.LOST, Reason.AGENT_UNKNOWN_TASK, message, out, now)
    elif task.kill_requested:
        tasks.end(state, task, TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH, "", out, now)
    elif task.state is TaskState.STAGING:
        out.launch(agent, task.task_id, task.details.launch)
    else:
        message = "its agent was unreachable before the launch arrived"
        tasks.end(state, task, TaskState.DROPPED, Reason.AGENT_DISCONNECTED, message, out, now)


def on_statuses(state: CellState, call: UpdateStatuses, out: Outlet, now: Instant) -> None:
    """Apply statuses of tasks. They are valid in any session; only if the session is not the current one, the agent
    must register again."""
    agent = state.agents.get(call.agent_id)
    if agent is None:
        _request_registration(state, call.agent_id, call.session, out, now)
        return
    for status in call.statuses:
        # Of an agent that is unreachable or gone, only terminal statuses apply: its list shows which tasks still
        # run. If it stops before it sends one, a task that was set to running again would never end.
        away = agent.state is not AgentStatus.REGISTERED and not status.state.terminal
        forgotten = agent.state is AgentStatus.GONE and status.task_id not in state.tasks
        if not away and not forgotten:
            tasks.on_status(state, call.agent_id, status, out, now)
    if agent.session != call.session:
        _request_registration(state, call.agent_id, call.session, out, now)
    else:
        agent.last_heartbeat_at = now.mono


def on_heartbeat(state: CellState, beat: AgentHeartbeat, out: Outlet, now: Instant) -> None:
    """Handle a heartbeat of an agent. Differences between it and the cell only cause a request for the agent's list,
    which is then used for the repair."""
    if beat.highest_term > state.term:
        out.decision.reclaim = max(out.decision.reclaim or 0, beat.highest_term)
        return
    agent = _in_session(state, beat.agent_id, beat.session, out, now)
    if agent is None:
        return
    agent.last_heartbeat_at = now.mono
    _set_heartbeat(state, agent, beat.interval, out)
    agent.usage = beat.usage
    slack.apply(state, agent, beat.slack, out)
    if not agent.listed:
        if now.mono - agent.hinted >= HINT_INTERVAL_SECONDS:
            agent.hinted = now.mono
            _recover(agent, out)
        return
    running = sum(1 for task in agent.tasks.values() if not task.state.terminal)
    # Commands and statuses on their way make both sides differ for a moment; a lasting difference is a loss.
    late = beat.applied < agent.number and beat.applied <= agent.applied
    differs = late or (beat.running != running and beat.applied == agent.number)
    agent.behind = agent.behind + 1 if differs else 0
    agent.applied = beat.applied
    if agent.behind >= MISMATCHED_HEARTBEATS and now.mono - agent.hinted >= HINT_INTERVAL_SECONDS:
        agent.hinted = now.mono
        agent.behind = 0
        if late:
            message = f"command {agent.number} was sent, {beat.applied} was applied"
            out.hint(addresses.commands(agent.ident), Reregister(session=agent.session, message=message))
        else:
            out.hint(addresses.commands(agent.ident), ListTasks(session=agent.session))


def _set_heartbeat(state: CellState, agent: Agent, interval: float, out: Outlet) -> None:
    """Compare the interval of an agent's heartbeats with the right one for the number of agents, and send it the right
    one if they differ much. The longer of the two applies from then on, so that a slow agent which is alive is not
    declared unreachable."""
    if not interval:
        return
    wanted = state.limits.beat_of(len(state.agents))
    if not interval / HEARTBEAT_TOLERANCE <= wanted <= interval * HEARTBEAT_TOLERANCE:
        out.hint(addresses.commands(agent.ident), SetHeartbeat(session=agent.session, interval=wanted))
        interval = max(interval, wanted)
    if interval != agent.beat:
        agent.beat = interval
        out.touch(RecordKind.AGENTS, agent.ident)


def on_unregister(state: CellState, call: UnregisterAgent, out: Outlet, now: Instant) -> None:
    """Handle an agent that leaves, with the list of tasks that run on without it. Launches that it has not applied
    never start, and can be made elsewhere at once. The other tasks wait for its return, as for any silent agent."""
    agent = state.agents.get(call.agent_id)
    if agent is None or not agent.session or agent.session != call.session:
        return
    offers.end_all(state, list(agent.offers.values()), out, "its agent has left")
    agent.session = ""
    agent.last_heartbeat_at = now.mono
    out.touch(RecordKind.AGENTS, agent.ident)
    _reconcile(state, agent, call.list, out, now)
    for task in _missing(agent, call.list):
        never = task.details.launch is not None and (task.number is None or task.number > call.list.applied)
        to = TaskState.DROPPED if never else TaskState.LOST
        message = (
            "its agent left before the task was launched" if never else "its agent left, and its list has no such task"
        )
        tasks.end(state, task, to, Reason.AGENT_DISCONNECTED, message, out, now)
    planned = agent.maintenance != Maintenance()  # it must apply when the agent returns
    if not planned and all(task.state.terminal for task in agent.tasks.values()):
        state.remove_agent(agent)


def _in_session(state: CellState, agent_id: str, session: str, out: Outlet, now: Instant) -> Agent | None:
    agent = state.agents.get(agent_id)
    if agent is None or not session or agent.session != session:
        _request_registration(state, agent_id, session, out, now)
        return None
    return agent


def _request_registration(state: CellState, agent_id: str, session: str, out: Outlet, now: Instant) -> None:
    hinted = state.hinted
    if now.mono - hinted.get(agent_id, float("-inf")) < HINT_INTERVAL_SECONDS:
        return
    if len(hinted) >= UNSEEN_AGENTS:
        hinted.clear()
    hinted[agent_id] = now.mono
    message = Reregister(session=session, message="the cell does not know this session")
    out.hint(addresses.commands(agent_id), message)


def request_lists(state: CellState, out: Outlet) -> None:
    """In a recovery, request every agent to register again with everything that it has stored. Its resources are
    offered again once it has done so."""
    for agent in state.agents.values():
        if agent.listed:
            continue
        out.touch(RecordKind.AGENTS, agent.ident)
        if agent.session:
            _recover(agent, out)


def _recover(agent: Agent, out: Outlet) -> None:
    message = Reregister(message="the cell recovers data that its store may have lost", recover=True)
    out.hint(addresses.commands(agent.ident), message)


def check_silence(state: CellState, out: Outlet, now: Instant) -> None:
    """Declare agents unreachable that have missed their heartbeats. Silence is counted from the moment at which this
    owner could receive messages, and only a part of the agents is declared unreachable at once."""
    limits = state.limits
    while state.lost_at and state.lost_at[0] <= now.mono - limits.agent_beat:
        state.lost_at.popleft()
    allowed = max(1, int(len(state.agents) * limits.agents_lost_at_once)) - len(state.lost_at)
    for agent in list(state.agents.values()):
        if agent.state is not AgentStatus.REGISTERED:
            continue
        timeout = limits.silence(agent.beat)
        if now.mono - _last_heartbeat_at(state, agent) > timeout:
            if allowed <= 0:
                return
            allowed -= 1
            state.lost_at.append(now.mono)
            unreachable(state, agent, f"its agent has sent no message for {timeout:g} s", out, now)


def _last_heartbeat_at(state: CellState, agent: Agent) -> float:
    """Monotonic time of the agent's last message, or the time since which this owner could receive one if that is
    later."""
    last = agent.last_heartbeat_at
    return state.blind_until if last is None else max(last, state.blind_until)


def gone(state: CellState, agent_id: str, out: Outlet, now: Instant) -> None:
    """Mark an agent as gone for ever, as an operator has requested, and end its tasks."""
    agent = state.agents.get(agent_id)
    if agent is None or agent.state is AgentStatus.GONE:
        return
    offers.end_all(state, list(agent.offers.values()), out, "its agent is marked as gone")
    state.set_agent(agent, agent.info, AgentStatus.GONE)
    agent.session = ""
    agent.unreachable_at, agent.since = now.wall, state.seconds
    out.touch(RecordKind.AGENTS, agent.ident)
    for task in list(agent.tasks.values()):
        if not task.state.terminal:
            message = "an operator has marked its agent as gone"
            reason = Reason.AGENT_REMOVED_BY_OPERATOR
            tasks.end(state, task, TaskState.GONE_BY_OPERATOR, reason, message, out, now)
    _notify_frameworks(state, agent, "an operator has marked it as gone", out)


def unreachable(state: CellState, agent: Agent, why: str, out: Outlet, now: Instant) -> None:
    """Declare an agent unreachable and end its session, so that a launch which still waits in its queue can never
    start late."""
    offers.end_all(state, list(agent.offers.values()), out, "its agent is unreachable")
    state.set_agent(agent, agent.info, AgentStatus.UNREACHABLE)
    agent.session = ""
    agent.unreachable_at, agent.since = now.wall, state.seconds
    out.touch(RecordKind.AGENTS, agent.ident)
    for task in list(agent.tasks.values()):
        if not task.state.terminal:
            tasks.end(state, task, TaskState.UNREACHABLE, Reason.AGENT_REMOVED, why, out, now)
    _notify_frameworks(state, agent, why, out)


def _notify_frameworks(state: CellState, agent: Agent, why: str, out: Outlet) -> None:
    for framework in state.frameworks.values():
        if framework.state is FrameworkStatus.SUBSCRIBED:
            failure = Failure(agent_id=agent.ident, message=why)
            out.hint(addresses.events(framework.ident), failure)
