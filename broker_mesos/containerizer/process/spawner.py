"""The spawner: the one process of an agent that starts its tasks, waits for them, and outlives it.

Its requests, events and greeting are described in ``spawner_link.py``. A new connection replaces the old one, whose
requests are handled first. Without an agent and without a process the spawner ends; the journal keeps the outcomes.

No threads, one epoll loop, standard library only.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import time
from collections import deque
from typing import Any

from broker_mesos.containerizer.credentials import forbid_new_privileges, hide
from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.adopted import AdoptedTasks
from broker_mesos.containerizer.process.children import Children, outcome
from broker_mesos.containerizer.process.disk_watch import DiskWatch
from broker_mesos.containerizer.process.event_log import EventLog
from broker_mesos.containerizer.process.exec_sessions import ExecSessions
from broker_mesos.containerizer.process.gpus import PATHS, Gpus, GpusNotFree, visible
from broker_mesos.containerizer.process.held_task import NotHeld
from broker_mesos.containerizer.process.journal import Entry, Journal, Record
from broker_mesos.containerizer.process.kills import Kills
from broker_mesos.containerizer.process.launch_requests import UNUSABLE, ids_of, new_entry
from broker_mesos.containerizer.process.launched_tasks import LaunchedTasks
from broker_mesos.containerizer.process.launching import disk_is_full, is_machine_fault, make_sandbox, spawn
from broker_mesos.containerizer.process.limited_tasks import LimitedTasks
from broker_mesos.containerizer.process.output_limits import MIN_OUTPUT_BYTES, Limits
from broker_mesos.containerizer.process.recovery import kill_strays, recover
from broker_mesos.containerizer.process.spawner_folder import open_folder
from broker_mesos.containerizer.process.spawner_link import SOCKET, AgentLink
from broker_mesos.containerizer.process.start_times import StartTimes
from broker_mesos.containerizer.process.task_limits import task_limits
from broker_mesos.containerizer.process.task_queues import QueuedTasks
from broker_mesos.containerizer.process.waited_usage import Used, wait_for

VERSION = 6
REQUESTS_PER_TURN = 4  # maximum number of launches between two checks of the children and two writes of events
FIRST_AGENT_SECONDS = 15.0  # seconds to wait for the agent that started us


def log(text: str) -> None:
    """Write a line to the log file of the spawner, which is its stderr."""
    try:
        print(time.strftime("%Y-%m-%dT%H:%M:%S"), text, file=sys.stderr, flush=True)
    except OSError:
        pass  # the spawner and its tasks do not end because the disk is full


class Spawner:
    """The spawner process."""

    def __init__(self, work_dir: str, boot: str, agent_pid: int = 0) -> None:
        self._work_dir = os.path.abspath(work_dir)
        self._sandboxes = os.path.join(self._work_dir, "sandboxes") + "/"
        self._prefix = b"BMESOS_SANDBOX=" + os.fsencode(self._sandboxes)
        self._boot = boot
        self._agent_pid = agent_pid
        self._pid = os.getpid()
        self._tasks: dict[str, Entry] = {}
        self._running: dict[int, Entry] = {}  # by pid of the main process
        self._requests: deque[list[Any]] = deque()
        self._queued = QueuedTasks()
        self._gpus = Gpus()
        self._disk = DiskWatch(self._work_dir, log)
        self._agent_deadline = time.monotonic() + FIRST_AGENT_SECONDS
        self._end_grace: float | None = None
        self._bye_sent = False

    # -- beginning ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the folder's lock, find what runs, listen. Raises Locked, OSError."""
        self._meta = open_folder(self._work_dir)
        proctree.become_subreaper()
        self._epoll = select.epoll()
        self._children = Children()
        self._epoll.register(self._children.fd, select.EPOLLIN)
        self._adopted = AdoptedTasks(self._epoll)
        self._launched = LaunchedTasks(
            self._epoll, self._sandboxes, self._started, self._start_failed, self._main_ended
        )
        self._limited = LimitedTasks(
            self._epoll,
            self._sandboxes,
            self._launched,
            self._limited_ended,
            self._note,
            lambda records: self._event_log.write_ahead(records),
            log,
        )
        self._limited.isolation.open_if_used(self._work_dir, self._meta, (self._agent_pid,))
        self._recover()
        self._limited.isolation.sweep(self._running.values())
        self._link = AgentLink(self._meta, self._epoll, log)
        self._event_log = EventLog(self._journal, self._link, log)
        self._start_times = StartTimes(self._running, self._event_log)
        self._execs = ExecSessions(self._meta, self._sandboxes, self._epoll, self._tasks, self._limited.group_of, log)
        helpers = (self._launched, self._limited, self._execs)
        self._kills = Kills(self._running, self._adopted, self._start_times, *helpers, self._prefix, self._tree_ended)

    def _recover(self) -> None:
        path = os.path.join(self._meta, "tasks.journal")
        self._tasks = recover(path, self._boot, self._sandboxes, self._adopt, self._limited.note_end, log)
        self._journal = Journal(path, self._boot)
        self._journal.compact(self._tasks.values())
        kill_strays({pid: entry.task_id for pid, entry in self._running.items()}, self._prefix, log)

    def _adopt(self, entry: Entry) -> bool:
        """Watch a process that an earlier spawner started. Returns False if it is gone."""
        if not self._adopted.adopt(entry):
            return False
        self._running[entry.pid] = entry
        self._gpus.hold(entry.task_id, entry.gpus)
        self._limited.adopt(entry)
        self._disk.started(entry, adopted=True)
        return True

    # -- the loop ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until there is neither an agent nor a running task."""
        while not self._finished():
            for fd, _ in self._epoll.poll(self._timeout()):
                if fd == self._children.fd:
                    self._children.clear()
                elif fd in self._launched:
                    self._launched.receive(fd)
                elif fd in self._limited:
                    self._limited.receive(fd)
                elif fd in self._execs:
                    self._execs.receive(fd)
                elif self._link.listens_on(fd):
                    self._accept()
                elif fd in self._adopted:
                    self._adopted_ended(*self._adopted.ended_on(fd))
                elif self._link.is_agent(fd):
                    self._receive()
            self._work()
        self._close()

    def _work(self) -> None:
        """One round of the loop: handle some requests, then ended processes, then write and send records."""
        if self._requests:
            self._handle(REQUESTS_PER_TURN)
        self._reap()
        self._limited.work()
        self._kills.sweep_if_due()
        self._start_times.read_due()
        if (self._has_tasks() or self._disk) and time.monotonic() >= self._disk.due:
            self._look_at_tasks()
        if (problems := self._limited.isolation.problems.changed()) is not None:
            self._event_log.send(["problems", problems])
        self._flush()

    def _timeout(self) -> float | None:
        """Seconds until the next timer is due; None if there is none."""
        if self._requests:
            return 0.0
        now = time.monotonic()
        until = [self._start_times.due] if self._start_times else []
        if self._event_log:
            until.append(self._event_log.due)
        if self._has_tasks() or self._disk:
            until.append(self._disk.due)
        until += [due for due in (self._kills.due(now), self._limited.due()) if due is not None]
        if not self._link.connected and not self._has_tasks() and not self._kills and not self._limited:
            until.append(self._agent_deadline)
        return max(0.0, min(until) - now) if until else None

    def _has_tasks(self) -> bool:
        return bool(self._running or self._launched.starting)

    def _finished(self) -> bool:
        if self._requests or self._has_tasks() or self._kills or self._limited:
            return False
        if self._event_log or self._link.unsent:
            return False
        if self._end_grace is None:
            return not self._link.connected and time.monotonic() >= self._agent_deadline
        if not self._bye_sent:
            self._bye_sent = True
            self._link.send([["bye"]])
        return not self._link.unsent

    def _close(self) -> None:
        """Kill the last orphans and compact the journal, when no task runs."""
        self._disk.close()
        self._launched.close()
        self._limited.isolation.close()
        for _ in range(50):
            processes = proctree.scan()
            _, left = proctree.owners(processes, {}, self._prefix, reaper=self._pid, everywhere=True)
            if not left:
                break
            for group in left.values():
                for process in group:
                    proctree.send(process, signal.SIGKILL)
            self._epoll.poll(0.02)
            self._children.clear()
            self._reap()
        try:
            os.unlink(os.path.join(self._meta, SOCKET))
        except FileNotFoundError:
            pass
        try:
            self._journal.compact(self._tasks.values())
        except OSError as error:
            log(f"journal: {error}")

    # -- the agent ---------------------------------------------------------------------------------------

    def _accept(self) -> None:
        """Accept a connection of an agent, new or the same again, and send it all tasks."""
        caller = self._link.answer()
        if caller is None:
            return
        if self._end_grace is not None:
            caller.close()  # the agent connects again, and reaches the next spawner
            return
        self._receive()  # the last requests of the previous connection are handled
        self._link.drop()
        while self._requests or self._launched.starting:
            self._work()
            self._launched.settle()
        self._flush()
        self._queued.clear()
        self._link.connect(caller)
        greeting: list[Record] = [["hello", VERSION, self._pid, self._boot]]
        for entry in self._tasks.values():
            greeting.extend(entry.records() if entry.reported else entry.records()[:1])
            if entry.note:
                greeting.append(["note", entry.task_id, entry.note])
        if problems := self._limited.isolation.problems.lines:
            greeting.append(["problems", problems])
        greeting.append(["ready"])
        self._link.send(greeting)

    def _receive(self) -> None:
        self._requests.extend(self._link.receive())
        if not self._link.connected:
            self._agent_deadline = time.monotonic()
            self._limited.isolation.rest()

    def _flush(self) -> None:
        self._event_log.flush(self._tasks.values(), len(self._tasks), coalesce=bool(self._queued))

    # -- requests ----------------------------------------------------------------------------------------

    def _handle(self, limit: int) -> None:
        batch: list[list[Any]] = []
        while self._requests and limit > 0:
            request = self._requests.popleft()
            if request[0] == "hold":  # later requests may be for the same queue
                self._set_queue(str(request[1]), str(request[-1]))
                continue
            new = request[0] == "launch" and request[1] not in self._tasks
            if new and all(request[1] != each[1] for each in batch) and not self._queued.enter(request):
                continue
            batch.append(request)
            limit -= request[0] == "launch"  # all the others are cheap, and many kills share one sweep
        intents = [r for r in batch if r[0] == "launch" and r[1] not in self._tasks]
        refused = ""
        if self._end_grace is not None:
            refused = "the agent is stopping"
        elif intents and (full := disk_is_full(self._sandboxes, self._disk.limits.free)):
            refused = full
        elif intents:
            # A process must not exist before the journal has a record of it.
            try:
                self._event_log.write_ahead([self._intent(request) for request in intents])
            except OSError as error:
                refused = f"cannot write the task journal: {error.strerror}"
        for request in batch:
            try:
                self._handle_one(request, refused)
            except UNUSABLE as error:
                log(f"bad request {str(request)[:200]}: {error!r}")
        if self._tasks or intents:
            os.chdir("/")

    def _intent(self, request: list[Any]) -> Record:
        """The record of a task that is about to be started, which gets its cgroup now, if it is to have one."""
        try:
            entry = self._limited.reserved(request[1]) or new_entry(request)
        except UNUSABLE:
            return ["intent", request[1]]  # described wrongly, as its launch tells
        self._give_gpus(entry)
        if entry.held and not self._limited.has(entry):
            self._limited.reserve(entry)
        return entry.intent_record()

    def _give_gpus(self, entry: Entry) -> None:
        """Give a task its GPUs, for the record of its ``intent``. If it gets too few, ``_launch`` fails."""
        if (wish := entry.gpu_wish) is None:
            return
        try:
            entry.gpus = self._gpus.take(entry.task_id, wish)
        except GpusNotFree:
            return
        if (view := entry.held.get("sandbox")) is not None and entry.gpus:
            view["devices"] = wish.paths(entry.gpus)
            entry.limits = task_limits(entry.held)

    def _handle_one(self, request: list[Any], refused: str) -> None:
        kind = request[0]
        if kind == "launch":
            self._launch(request, refused)
        elif kind == "kill":
            entry = self._tasks.get(request[1])
            if entry is not None:
                self._kill(entry, float(request[2]))
            elif self._queued.withdraw(request[1]):
                self._event_log.send(["failed", request[1], "killed before its turn came", False])
        elif kind == "withdraw":
            if self._queued.withdraw(request[1]):
                self._event_log.send(["failed", request[1], "withdrawn before its turn came", False])
        elif kind == "forget":
            entry = self._tasks.get(request[1])
            if entry is not None and (entry.failed is not None or (entry.ended is not None and entry.reported)):
                del self._tasks[request[1]]
                self._event_log.record(request)
        elif kind == "usage":
            self._usage()
        elif kind == "limits":
            self._disk.limits = Limits(max(MIN_OUTPUT_BYTES, int(request[1])), max(0, int(request[2])))
        elif kind == "end":
            self._end_grace = float(request[1])
            self._queued.clear()
            for entry in list(self._tasks.values()):
                if entry.ended is None and entry.failed is None:
                    self._kill(entry, self._end_grace)
        elif kind == "seat":
            try:
                self._launched.pool.share(self._launched.profile(ids_of(request[2])))
            except OSError as error:
                log(f"no launcher for user {request[2][0]}: {error}")
        elif kind == "isolate":
            self._limited.isolation.open(self._work_dir, (int(request[1]),))
            if len(request) > 4 and request[4]:
                self._limited.isolation.open_devices(self._work_dir)
            self._limited.isolation.expect(float(request[2]), int(request[3]))
            self._event_log.send(self._limited.isolation.answer())
        elif kind == "protect":
            hide()
            forbid_new_privileges()

    def _kill(self, entry: Entry, grace: float) -> None:
        starting = self._launched.starting.get(entry.task_id)
        if starting is None:
            if not self._limited.hurry(entry, grace):
                self._kills.kill(entry, grace)
        else:
            starting.kill = grace if starting.kill is None else min(grace, starting.kill)

    def _launch(self, request: list[Any], refused: str) -> None:
        _, task_id, argv, env, *rest = request
        known = self._tasks.get(task_id)
        if known is not None:
            # A repeated launch is not executed again. The sender gets the current state.
            self._event_log.send(*(known.records() if known.reported else known.records()[:1]))
            return
        wrong = ""
        try:
            entry = self._limited.reserved(task_id) or new_entry(request)
        except UNUSABLE as error:
            entry, wrong = Entry(task_id), str(error)
        self._tasks[task_id] = entry
        options = {name: value for name, value in (rest[2] if len(rest) > 2 else {}).items() if name != "limits"}
        try:
            if refused:
                raise OSError(errno.EIO, refused)
            if wrong or not argv or "/" in task_id or task_id.startswith("."):
                raise ValueError(wrong or "no command, or no proper task id")
            if (wish := entry.gpu_wish) is not None:
                entry.gpus = self._gpus.take(task_id, wish)
                env = {**env, **visible(entry.gpus)}
                if "folder" in options:
                    env[PATHS] = ":".join(wish.paths(entry.gpus))
            user = options.pop("user", None)
            launched = [argv, env, str(options.get("directory", "")), bool(options.get("stdin", False))]
            if entry.held:
                self._limited.launch(entry, launched)
                return
            if user is not None:
                entry.owner = ids_of(user)
                make_sandbox(self._sandboxes + task_id, entry.owner)
                self._launched.launch_shared(entry, entry.owner, launched)
                return
            folder = str(options.pop("folder", "")) or self._sandboxes + task_id
            pid = spawn(folder, argv, env, **options)
        except GpusNotFree as error:
            self._start_failed(entry, str(error), machine=True)
            return
        except (OSError, ValueError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            if not isinstance(error, NotHeld):
                reason = f"cannot start {argv[0] if argv else ''!r}: {reason}"
            self._start_failed(entry, refused or str(reason), bool(refused) or is_machine_fault(error))
            return
        self._started(entry, pid)

    def _started(self, entry: Entry, pid: int, kill: float | None = None) -> None:
        """Note that a task's process has started; ``kill`` is the grace of a kill that was requested meanwhile."""
        entry.pid = pid
        entry.started_at = time.time()
        self._start_times.want(entry)
        self._running[pid] = entry
        self._disk.started(entry)
        self._event_log.record_and_send(entry.start_record())
        if kill is not None:
            self._kills.kill(entry, kill)

    def _start_failed(self, entry: Entry, reason: str, machine: bool) -> None:
        self._limited.drop(entry)
        entry.failed, entry.machine = " ".join(reason.split())[:500], machine
        self._event_log.record_and_send(["failed", entry.task_id, entry.failed, entry.machine])
        self._next_turn(entry)

    def _usage(self) -> None:
        ours, _ = self._kills.owners(proctree.scan())
        usage = {
            task_id: [round(sum(p.cpu for p in group), 2), sum(p.rss for p in group)] for task_id, group in ours.items()
        }
        self._event_log.send(["usage", {**usage, **self._limited.usage()}])

    def _look_at_tasks(self) -> None:
        """Check what has no event: the output of tasks, ends of tasks without a descriptor, stopped launchers."""
        self._launched.check()
        self._limited.check()
        for entry, status in self._adopted.ended():
            self._adopted_ended(entry, status)
        for entry, reason, processes in self._disk.look(self._running, lambda: self._kills.owners(proctree.scan())[0]):
            if not entry.limit and entry.ended is None:
                entry.limit = reason
                for process in processes:
                    proctree.send(process, signal.SIGKILL)
                self._kills.kill(entry, 0.0)
                log(f"ending task {entry.task_id}: {reason}")
        for entry, note in self._disk.take_notes():
            self._note(entry, note)

    def _note(self, entry: Entry, text: str) -> None:
        entry.note = text
        log(f"task {entry.task_id}: {text}")
        self._event_log.send(["note", entry.task_id, text])

    # -- ends --------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for child in self._children.ended():
            entry = self._running.get(child.si_pid)
            if entry is None:
                if not (self._launched.ended(child.si_pid) or self._execs.ended(child.si_pid)):
                    os.waitpid(child.si_pid, 0)  # an orphan that we inherited
                    self._kills.orphan_ended()
                    self._limited.look_again()
                continue
            if not entry.kill_at:
                # When the main process ends, its group is killed. The zombie keeps the pid from being used again.
                try:
                    os.killpg(child.si_pid, signal.SIGKILL)
                except OSError:
                    pass
            used = wait_for(child.si_pid)
            self._main_ended(entry, *outcome(child), used)

    def _adopted_ended(self, entry: Entry, status: int | None) -> None:
        if status is None:
            self._main_ended(entry, None, None)
        elif os.WIFSIGNALED(status):
            self._main_ended(entry, None, os.WTERMSIG(status))
        else:
            self._main_ended(entry, os.WEXITSTATUS(status), None)

    def _main_ended(self, entry: Entry, code: int | None, number: int | None, used: Used | None = None) -> None:
        entry.ended = (code, number, time.time())
        if used and not self._limited.has(entry):
            entry.used, entry.used_by = used, "wait"
        self._execs.end(entry)
        del self._running[entry.pid]
        self._disk.ended(entry)
        record = entry.exit_record()
        if self._kills.main_ended(entry):
            self._event_log.record(record)
        elif self._limited.has(entry):
            entry.reported = False
            self._limited.main_ended(entry)
            if not entry.reported:
                self._event_log.record(record)
        else:
            self._event_log.record_and_send(record)
            self._next_turn(entry)

    def _tree_ended(self, entry: Entry) -> None:
        self._event_log.send(entry.exit_record())
        self._next_turn(entry)

    def _limited_ended(self, entry: Entry) -> None:
        entry.reported = True
        self._event_log.record_and_send(entry.exit_record())
        self._next_turn(entry)

    def _set_queue(self, task_id: str, queue: str) -> None:
        entry = self._tasks.get(task_id)
        if entry is not None and entry.pid in self._running and not entry.queue:
            entry.queue = queue
            self._queued.add_running(queue)

    def _next_turn(self, entry: Entry) -> None:
        """Take back the GPUs of a task that has ended, and start the next task of its queue, before later requests."""
        self._gpus.release(entry.task_id)
        if entry.queue and (request := self._queued.leave(entry.queue)) is not None:
            self._requests.appendleft(request)
