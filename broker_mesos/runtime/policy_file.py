"""The access policy of a daemon: a file that is read when the daemon starts, and again on SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Collection
from pathlib import Path

from broker_mesos.core.api.access import AccessPolicy, parse_policy
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.logs import get_logger
from broker_mesos.runtime.settings import Settings
from broker_mesos.runtime.toml_reader import parse_toml

log = get_logger(__name__)


def read_policy(path: Path) -> AccessPolicy:
    """The policy in a file. Raises InvalidInput, in one line with the file's name."""
    try:
        content = parse_toml(path.read_bytes().decode())
    except (InvalidInput, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise InvalidInput(f"cannot read the policy {path}: {error.strerror}") from None
    try:
        return parse_policy(content)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None


class PolicyFile:
    """The policy in a file, as it was read last without an error. Raises InvalidInput if it cannot be read at first."""

    def __init__(self, path: Path, daemons: Collection[str] = ()) -> None:
        """``daemons`` are the users of built-in frameworks, which may see the cluster."""
        self._path = path
        self.daemons = frozenset(daemons)
        self.policy = read_policy(path)
        self.problem = ""
        """The reason why the file could not be read again; empty if it was, or never had to be."""

    def reload(self) -> None:
        """Read the file again. If that fails, the policy stays as it is, with one line of log."""
        try:
            self.policy = read_policy(self._path)
        except InvalidInput as error:
            self.problem = str(error)
            log.error("the policy stays as it was: the file cannot be used", error=self.problem)
        else:
            self.problem = ""
            log.info("the policy was read again", principals=len(self.policy.principal), digest=self.policy.digest)

    def reload_on_hangup(self) -> None:
        """Read the file again whenever this process receives SIGHUP."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)


def policy_file(settings: Settings, daemons: Collection[str]) -> PolicyFile | None:
    """The policy of a daemon with these settings, which is read again on SIGHUP; None if senders are not checked.
    Raises InvalidInput if it cannot be read, or if there is one without the other: a name that nobody has verified is
    none, and verified names without rights let a framework's user give up agents."""
    if settings.policy is None:
        if settings.security == "on":
            raise InvalidInput(
                "security=on needs a policy, which says who may do what: name its file in BMESOS_POLICY "
                "(`bmesos policy check FILE` checks it)"
            )
        return None
    if settings.security != "on":
        raise InvalidInput("a policy needs security=on: otherwise whoever may publish sends in the name of anybody")
    found = PolicyFile(settings.policy, daemons)
    found.reload_on_hangup()
    return found
