"""Finds out whether tasks can be sandboxed here, by making a view as a task has it."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from broker_mesos.containerizer.cgroups.forking import clone
from broker_mesos.containerizer.namespaces import call_filter, landlock
from broker_mesos.containerizer.namespaces.namespaces import Namespaces, first_flags, own_user_namespace
from broker_mesos.containerizer.namespaces.view import View

ANSWER_SECONDS = 20.0
_DENIED = {errno.EPERM, errno.EACCES}
_MISSING = {errno.ENOSYS, errno.EINVAL}
DENIED_TEXT = (
    "this host restricts namespaces (in a container, or Ubuntu's kernel.apparmor_restrict_unprivileged_userns): run the"
    " agent as root of the host"
)


BASE = ("fs", "pid", "ipc")
"""What every sandboxed task has of its own."""

ROOTFS_DENIED_TEXT = "an agent that is not root cannot make root file systems of folders that belong to others"


class Found(NamedTuple):
    """What tasks can have of their own, in words of ``AgentInfo.isolation``."""

    words: tuple[str, ...] = ()
    missing: Mapping[str, str] = MappingProxyType({})
    """By word that is not there: why not, in one line."""


def probe(folder: str) -> Found:
    """Make a view, as a launcher does for a task; ``folder`` stands for its sandbox, and nothing is written to it. The
    caller must have no other thread."""
    try:
        call_filter.program()  # launchers are forked with it
        why = _try(folder, View())
    except OSError as error:
        why = _text(error)
    answers = dict.fromkeys(BASE, why)
    answers["net"] = why or _try(folder, View(network="none"))
    answers["rootfs"] = why or _try(folder, View(rootfs="/usr")).replace(DENIED_TEXT, ROOTFS_DENIED_TEXT)
    answers["ports"] = (
        "" if landlock.abi() >= landlock.PORTS_ABI else "this needs Landlock, as Linux 6.7 and later have it"
    )
    missing = {word: text for word, text in answers.items() if text}
    return Found(tuple(word for word in answers if word not in missing), missing)


def _try(folder: str, view: View) -> str:
    """Why a view cannot be made here; empty if it can be."""
    ids = os.geteuid(), os.getegid()
    reader, writer = os.pipe()
    try:
        pid = clone(first_flags())
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return _text(error)
    if pid == 0:
        try:
            if ids[0]:
                own_user_namespace(*ids)
            Namespaces(view.network).enter(view, folder, None)
            call_filter.install()
            answer = ""
        except OSError as error:
            answer = _text(error)
        except BaseException as error:
            answer = repr(error)
        os.write(writer, json.dumps([answer]).encode())
        os._exit(0)
    os.close(writer)
    try:
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        data = os.read(reader, 4096) if poll.poll(ANSWER_SECONDS * 1000) else b""
        return str(json.loads(data)[0]) if data else "a process that made a view of files has not ended"
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _text(error: OSError) -> str:
    text = error.strerror or str(error)
    if error.errno in _DENIED:
        return f"{text}: {DENIED_TEXT}"
    if error.errno in _MISSING:
        return f"{text}: sandboxes need Linux 5.12 or later"
    return text
