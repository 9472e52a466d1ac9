"""Finds tasks that run outside of their cgroup, as after a service manager has taken it away, and moves them back.
Standard library only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from broker_mesos.containerizer.process import proctree
from broker_mesos.containerizer.process.held_task import HeldTask
from broker_mesos.containerizer.process.isolation import Isolation
from broker_mesos.containerizer.process.journal import Entry

MAX_TASKS = 32
"""Tasks that are looked at in one turn."""


class StrayTasks:
    """The tasks that were found outside, as problems of ``isolation``. ``held`` are the tasks in cgroups, by id; those
    of ``ending`` are left alone. ``moved`` is called with one that is in its cgroup again, ``noted`` as well, with a
    phrase for its status."""

    def __init__(
        self,
        isolation: Isolation,
        held: Mapping[str, HeldTask],
        ending: Mapping[str, HeldTask],
        moved: Callable[[HeldTask], None],
        noted: Callable[[Entry, str], None],
    ) -> None:
        self._isolation = isolation
        self._held = held
        self._ending = ending
        self._on_moved = moved
        self._on_noted = noted
        self._turn: deque[str] = deque()
        self._found: dict[str, str] = {}

    def check(self) -> None:
        """Look at the tasks whose turn it is."""
        if not self._turn:
            self._turn.extend(self._held)
        for _ in range(min(MAX_TASKS, len(self._turn))):
            task_id = self._turn.popleft()
            held = self._held.get(task_id)
            if held is not None and held.entry.pid and task_id not in self._ending:
                try:
                    place = held.group.place_outside(held.entry.pid)
                except OSError:
                    continue  # it has ended
                if place:
                    self._move_back(held, place)

    def drop(self, task_id: str) -> None:
        """A task has ended."""
        if self._found.pop(task_id, ""):
            self._note()

    def _move_back(self, held: HeldTask, place: str) -> None:
        entry = held.entry
        pids = proctree.tree(entry.pid)
        if held.launcher is not None and not held.launcher.gone:
            pids.append(held.launcher.pid)
        end = "it was moved back"
        try:
            assert self._isolation.driver is not None
            self._isolation.driver.restore(held.group, pids)
            self._on_moved(held)
        except OSError as error:
            end = f"it cannot be moved back: {error.strerror}"
        text = f"found outside of its cgroup, in {place}; {end}"
        if self._found.get(entry.task_id) != text:
            self._found[entry.task_id] = text
            self._note()
            self._on_noted(entry, text)

    def _note(self) -> None:
        lines = [f"task {task_id} was {text}" for task_id, text in self._found.items()]
        self._isolation.problems.note("outside", lines)
