"""The launchers of a spawner: those in a cgroup are forked ahead and used again; those without one start all tasks of
their profile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from broker_mesos.containerizer.cgroups.driver import Driver
from broker_mesos.containerizer.cgroups.files import NO_DESCRIPTOR
from broker_mesos.containerizer.cgroups.limits import Limits
from broker_mesos.containerizer.cgroups.task_cgroup import TaskCgroup
from broker_mesos.containerizer.launchers.launcher import Launcher
from broker_mesos.containerizer.launchers.profile import Profile

MIN_BLANK = 2
MAX_BLANK = 16
BLANK = Limits()
MAX_IDLE = 16
"""Launchers that have a profile and no task; the one that is idle longest goes first."""
WINDOW_SECONDS = 1.0
"""The time over which starts are counted, to know how many blank launchers are needed."""


class Key(NamedTuple):
    """What tasks of one launcher have in common. ``group`` keeps apart what must not share a cgroup, such as the tasks
    of two frameworks."""

    group: str
    profile: Profile
    limits: Limits


class LauncherPool:
    """The launchers that have no task, and those without a cgroup. The spawner waits for the processes of all,
    registers their descriptors, and calls ``receive`` of each when that is readable.

    ``created`` is called with each new one, and ``closed`` with each one before it goes. Without a ``driver`` there are
    no cgroups: ``take`` raises OSError.
    """

    def __init__(
        self,
        created: Callable[[Launcher], None] = lambda launcher: None,
        closed: Callable[[Launcher], None] = lambda launcher: None,
        driver: Driver | None = None,
    ) -> None:
        self._created = created
        self._closed = closed
        self.driver = driver
        self._shared: dict[Profile, Launcher] = {}
        self._blank: deque[Launcher] = deque()
        self._taken: set[Launcher] = set()  # those that ``put`` gives back
        self._idle: dict[Launcher, Key] = {}  # the one that is idle longest first
        self._starts: deque[float] = deque()

    def __len__(self) -> int:
        """The number of launchers that have no task and may get one; those without a cgroup are not counted."""
        return len(self._blank) + len(self._idle)

    # -- without a cgroup --------------------------------------------------------------------------------

    def share(self, profile: Profile) -> Launcher:
        """The launcher of all tasks of a profile that have no cgroup; made when it is first asked for. Raises
        OSError."""
        found = self._shared.get(profile)
        if found is None or found.dead:
            found = self._shared[profile] = Launcher()
            self._created(found)
            found.become(profile)
        return found

    def shared_pids(self) -> list[int]:
        """The pids of the launchers that have no cgroup of their own, and so are in that of the spawner."""
        return [each.pid for each in self._shared.values() if not each.dead]

    def shares(self, launcher: Launcher) -> bool:
        """Whether this launcher gets further tasks of its profile."""
        return launcher.profile is not None and self._shared.get(launcher.profile) is launcher

    def replace(self, launcher: Launcher) -> None:
        """Have another launcher start the next task of its profile."""
        if launcher.profile is not None and self.shares(launcher):
            del self._shared[launcher.profile]

    # -- in a cgroup -------------------------------------------------------------------------------------

    def take(self, key: Key, now: float) -> Launcher:
        """A launcher for one task of this key, at ``now`` in monotonic seconds: an idle one of the same key, or a blank
        one, or a new one; requests to it wait until it has joined. Raises OSError: limits that cannot be set."""
        self._starts.append(now)
        for launcher, other in list(self._idle.items()):
            if other == key:
                del self._idle[launcher]
                if not launcher.dead:
                    self._taken.add(launcher)
                    return launcher
                self.release(launcher)
        while True:
            launcher, blank = self._next(key)
            assert launcher.group is not None
            try:
                launcher.group.set_limits(key.limits)
                launcher.become(key.profile)
                self._taken.add(launcher)
                return launcher
            except OSError:
                # One that has ended, or whose cgroup somebody has removed, means nothing for a new one.
                usable = not launcher.dead and not launcher.group.vanished()
                self.release(launcher)
                if usable or not blank:
                    raise

    def _next(self, key: Key) -> tuple[Launcher, bool]:
        """The blank launcher that was forked first, or a new one; and whether it was a blank one."""
        if key.limits.cpuset or key.profile.sandboxed:
            # Those that are forked ahead are not in the cgroups of pinned tasks, nor in a namespace.
            return self._fork(key.limits if key.limits.cpuset else BLANK, sandboxed=key.profile.sandboxed), False
        while self._blank:
            launcher = self._blank.popleft()
            if not launcher.dead:
                return launcher, True
            self.release(launcher)
        return self._fork(), False

    def put(self, launcher: Launcher, key: Key) -> None:
        """Take back a launcher whose task has ended, after its usage was read; it may be gone. Nothing but the launcher
        may be left in its cgroup; otherwise, and where cgroups cannot begin anew, both go."""
        assert launcher.group is not None and self.driver is not None
        self._taken.discard(launcher)
        if launcher.gone:
            self.driver.free(launcher.group)
            return
        usable = launcher.idle and self.driver.reusable and not key.limits.cpuset
        if not (usable and launcher.group.reset(keep={launcher.pid})):
            self.release(launcher)
            return
        self._idle[launcher] = key
        while len(self._idle) > MAX_IDLE:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            self.release(oldest)

    def fork_ahead(self, now: float) -> None:
        """Fork one blank launcher if there are fewer than the starts of the last second call for; to be called when
        there is nothing else to do. Raises OSError."""
        if self.lacking(now):
            self._blank.append(self._fork())

    def lacking(self, now: float) -> int:
        """How many blank launchers are to be forked."""
        while self._starts and self._starts[0] < now - WINDOW_SECONDS:
            self._starts.popleft()
        return max(0, min(MAX_BLANK, MIN_BLANK + len(self._starts)) - len(self._blank))

    def _fork(self, limits: Limits = BLANK, *, sandboxed: bool = False) -> Launcher:
        if self.driver is None:
            raise OSError(0, "there are no cgroups")
        group = self.driver.take(limits)
        try:
            launcher = self._launcher(group, sandboxed=sandboxed)
        except OSError:
            self.driver.free(group)
            raise
        self._created(launcher)
        return launcher

    def _launcher(self, group: TaskCgroup, *, sandboxed: bool) -> Launcher:
        """Fork a launcher; if no descriptor is left, those go that are kept only to be faster. Raises OSError."""
        try:
            return Launcher(group, sandboxed=sandboxed)
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR or self.driver is None:
                raise
        while self._idle:  # their descriptors are free when they have ended
            self.release(self._idle.popitem()[0])
        self.driver.make_room()
        return Launcher(group, sandboxed=sandboxed)

    # -- their end ---------------------------------------------------------------------------------------

    def release(self, launcher: Launcher) -> None:
        """End a launcher; its cgroup is freed when the spawner has waited for it, see ``ended``."""
        self._closed(launcher)
        launcher.kill()

    def ended(self, launcher: Launcher) -> None:
        """The spawner has waited for a launcher, and received what it has sent. Its cgroup is freed, at once or when
        the task in it gives it back."""
        launcher.gone = True
        self.replace(launcher)
        self._idle.pop(launcher, None)
        if launcher in self._blank:
            self._blank.remove(launcher)
        launcher.close()
        if launcher.group is not None and self.driver is not None and launcher not in self._taken:
            self.driver.free(launcher.group)

    def close(self) -> None:
        """End all launchers, when no task runs."""
        for launcher in [*self._blank, *self._idle, *self._shared.values()]:
            self.release(launcher)
        self._blank.clear()
        self._idle.clear()
        self._shared.clear()
