"""Gives up what a task is not to have: this process takes on a profile, for good."""

from __future__ import annotations

import ctypes
import errno
import os
import resource

from broker_mesos.containerizer import credentials
from broker_mesos.containerizer.cgroups import devices
from broker_mesos.containerizer.launchers.profile import NO_LIMIT, RLIMITS, Profile
from broker_mesos.containerizer.namespaces import call_filter, landlock

_PR_CAPBSET_DROP = 24
_MAX_CAPABILITIES = 64
_ONLY_LOWERED = ("nice", "rtprio")
"""Resource limits that root does not raise either: a task could take the CPUs from all others."""

_libc = ctypes.CDLL(None, use_errno=True)


def resource_limits() -> list[tuple[int, int]]:
    """The resource limits of this process, which its tasks inherit. A task of the same user can change them."""
    return [resource.getrlimit(number) for number in sorted(set(RLIMITS.values()))]


class Refused(OSError):
    """This process cannot become what the profile demands; ``strerror`` is the reason, as one line."""


def become(profile: Profile) -> None:
    """Set the resource limits, drop the capabilities, and become the user of a profile. Raises Refused; then this
    process is to end."""
    if profile.devices:
        try:
            devices.join(profile.devices)
        except OSError as error:
            raise Refused(error.errno, f"its GPUs: {profile.devices}: {error.strerror}") from None
    for name, limit in profile.rlimits:
        _set_rlimit(name, limit)
    os.umask(profile.umask)
    try:
        if profile.sandboxed:
            _become_sandboxed(profile)
        elif profile.user is not None:
            _drop_bounding_set()
            credentials.become(profile.user)
        elif not profile.privileged:
            _drop_bounding_set()
            credentials.forbid_new_privileges()
            credentials.drop_capabilities()
        if profile.ports is not None and not profile.sandboxed:
            credentials.forbid_new_privileges()
            landlock.restrict(profile.ports, sockets=False)
        # The task may have the same user: it may not attach to this process, nor read its descriptors and memory.
        credentials.hide()
    except OSError as error:
        user = os.geteuid() if profile.user is None else profile.user.uid
        raise Refused(error.errno, f"this agent cannot run tasks as user {user}: {error.strerror}") from None


def drop_all_capabilities() -> None:
    """Give up all capabilities, as those that a process has in a user namespace that it has entered. Raises OSError."""
    _drop_bounding_set()
    credentials.drop_capabilities()


def _become_sandboxed(profile: Profile) -> None:
    """Keep what the launcher needs to make mounts, and nothing that a program which it starts would get: that has the
    real ids of this process (``spawn`` resets the effective ones), with no capability of the bounding set."""
    _drop_bounding_set()
    credentials.forbid_new_privileges()
    if profile.user is not None and profile.user.uid != os.geteuid():
        own = os.geteuid(), os.getegid()
        os.setgroups(profile.user.groups)
        os.setresgid(profile.user.gid, own[1], own[1])
        os.setresuid(profile.user.uid, own[0], own[0])
    landlock.restrict(profile.ports, sockets=True)
    call_filter.install()


def _set_rlimit(name: str, limit: int) -> None:
    number, value = RLIMITS[name], resource.RLIM_INFINITY if limit == NO_LIMIT else limit
    _, hard = resource.getrlimit(number)
    try:
        if name in _ONLY_LOWERED and hard != resource.RLIM_INFINITY and (limit == NO_LIMIT or limit > hard):
            raise PermissionError
        resource.setrlimit(number, (value, value))
    except (OSError, ValueError):
        shown = "unlimited" if limit == NO_LIMIT else limit
        raise Refused(errno.EPERM, f"rlimit {name} {shown} is above the agent's hard limit {hard}") from None


def _drop_bounding_set() -> None:
    """No program that is executed from here on gets a capability, not even as root. A process without the right to drop
    them (CAP_SETPCAP) keeps the set, which gives nothing to users other than root."""
    for capability in range(_MAX_CAPABILITIES):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
