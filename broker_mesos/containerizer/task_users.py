"""The users of the machine that an agent runs tasks as, instead of its own."""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from broker_mesos.containerizer.credentials import Ids, acting_as, missing_capabilities
from broker_mesos.errors import InvalidInput

DEFAULT_USER = "bmesos-task"
"""The user of tasks if the agent's settings name none."""


class User(NamedTuple):
    """A user of the machine."""

    name: str
    ids: Ids
    home: str
    """Its home folder; empty if it has none."""


class TaskUsers:
    """The users that tasks may run as."""

    def __init__(self, default: User, others: Collection[User] = ()) -> None:
        """``default`` is that of tasks which ask for none."""
        self.default = default
        self._by_name = {user.name: user for user in (default, *others)}

    @property
    def names(self) -> list[str]:
        """The names of all of them."""
        return list(self._by_name)

    def get(self, name: str) -> User:
        """The user that a task asks for, or the default for an empty name. Raises InvalidInput for one that is not
        allowed here."""
        if not name:
            return self.default
        found = self._by_name.get(name)
        if found is None:
            raise InvalidInput(f"its agent runs no tasks as {name!r}: its task_users are {', '.join(self._by_name)}")
        return found

    def open_folder(self, folder: Path) -> None:
        """Let these users pass through an agent's work folder to the sandboxes and volumes in it, but not list what is
        there. Raises InvalidInput if a folder above it keeps them out."""
        try:
            for path in (folder, folder / "sandboxes", folder / "volumes"):
                path.mkdir(mode=0o711, parents=True, exist_ok=True)
                mode = path.stat().st_mode
                if mode & 0o011 != 0o011:
                    path.chmod(mode & 0o7777 | 0o011)
        except OSError as error:
            raise InvalidInput(f"cannot use the work folder {folder}: {error.strerror}") from None
        for user in self._by_name.values():
            closed = _closed_to(user.ids, folder / "sandboxes")
            if closed is not None:
                raise InvalidInput(
                    f"user {user.name!r} cannot enter {closed}, which the sandboxes of its tasks are in: choose another"
                    f" --work-dir, or chmod o+x {closed}"
                )


def _closed_to(user: Ids, folder: Path) -> Path | None:
    """The topmost folder on a path that a user cannot pass through; None if there is none."""
    with acting_as(user):
        for path in (*reversed(folder.parents), folder):
            try:
                os.stat(f"{path}/.")
            except PermissionError:
                return path
    return None


def find_task_users(
    task_user: str, task_users: Collection[str], *, allow_root: bool, instead: str = "--same-user"
) -> TaskUsers:
    """The users of these names; ``instead`` names the option that does without. Raises InvalidInput, in one line that
    says what to do, if one does not exist or may not be used, or if this process cannot become another user."""
    if missing := missing_capabilities():
        raise InvalidInput(
            f"this agent cannot run tasks as user {task_user!r}: it lacks the capabilities {', '.join(missing)}; start"
            f" it as root or by its systemd unit, or give {instead}: then tasks can read what the agent can"
        )
    found = [_find(name, allow_root=allow_root) for name in dict.fromkeys((task_user, *task_users))]
    return TaskUsers(found[0], found[1:])


def own_name() -> str:
    """The name of this process' user, or its number if it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def environment_of(user: User, base: Mapping[str, str], sandbox: str) -> dict[str, str]:
    """The environment of a task of this user, out of that of the agent's tasks."""
    kept = {name: value for name, value in base.items() if name != "TMPDIR"}
    return {**kept, "USER": user.name, "LOGNAME": user.name, "HOME": user.home or sandbox}


def _find(name: str, *, allow_root: bool) -> User:
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise InvalidInput(
            f"there is no user {name[:40]!r} on this machine for tasks to run as: useradd --system {name[:40]}, or name"
            " another one with --task-user"
        ) from None
    if entry.pw_uid == 0 and not allow_root:
        raise InvalidInput(f"tasks do not run as {name!r}, which is root: name another user, or give --allow-root")
    if entry.pw_uid == os.geteuid() and entry.pw_uid:
        raise InvalidInput(
            f"{name!r} is the agent's own user, whose files tasks could read: name another one, as with --task-user"
            f" {DEFAULT_USER}"
        )
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    home = entry.pw_dir if entry.pw_dir != "/" and os.path.isdir(entry.pw_dir) else ""
    return User(name, Ids(entry.pw_uid, entry.pw_gid, groups), home)
