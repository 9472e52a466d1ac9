"""Gives up what a task is not to have: this process becomes another user, for good."""

from __future__ import annotations

import ctypes
import errno
import os
import resource

from broker_mesos.containerizer.launchers.profile import NO_LIMIT, RLIMITS, Profile

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_MAX_CAPABILITIES = 64

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(OSError):
    """This process cannot become what the profile demands; ``strerror`` is the reason, as one line."""


def become(profile: Profile) -> None:
    """Set the resource limits, drop the capabilities, and become the user of a profile. Raises Refused; then this
    process is to end."""
    for name, limit in profile.rlimits:
        _set_rlimit(name, limit)
    os.umask(profile.umask)
    if not profile.capabilities:
        _drop_bounding_set()
    if profile.uid >= 0 and (profile.uid, profile.gid) != (os.geteuid(), os.getegid()):
        try:
            os.setgroups(profile.groups)
            os.setresgid(profile.gid, profile.gid, profile.gid)
            os.setresuid(profile.uid, profile.uid, profile.uid)
        except OSError as error:
            text = f"this agent cannot run tasks as user {profile.uid}: {error.strerror}"
            raise Refused(error.errno, text) from None
    if not profile.new_privileges:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # The task has the same user: it may not attach to this process, nor read its descriptors and memory.
    _prctl(_PR_SET_DUMPABLE, 0)


def _set_rlimit(name: str, limit: int) -> None:
    number, value = RLIMITS[name], resource.RLIM_INFINITY if limit == NO_LIMIT else limit
    try:
        resource.setrlimit(number, (value, value))
    except (OSError, ValueError):
        _, hard = resource.getrlimit(number)
        shown = "unlimited" if limit == NO_LIMIT else limit
        raise Refused(errno.EPERM, f"rlimit {name} {shown} is above the agent's hard limit {hard}") from None


def _drop_bounding_set() -> None:
    """No program that is executed from here on gets a capability, not even as root. A process without the right to drop
    them (CAP_SETPCAP) keeps the set, which gives nothing to users other than root."""
    for capability in range(_MAX_CAPABILITIES):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise Refused(number, f"prctl {option}: {os.strerror(number)}")
