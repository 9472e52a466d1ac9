"""What the agent's decisions ask its shell to do, in order: each is carried out before the next."""

from __future__ import annotations

from typing import NamedTuple

from broker_mesos.agent.checkpoint import Entry
from broker_mesos.core.model.reservation import ReservedResources
from broker_mesos.core.protocol.addresses import Address
from broker_mesos.core.protocol.wire import Message
from broker_mesos.ports.bus import Outgoing, outgoing
from broker_mesos.ports.containerizer import LaunchSpec


class Publish(NamedTuple):
    """Send a message. ``expiration`` in seconds."""

    to: Address
    message: Message
    mandatory: bool = False
    persistent: bool = True
    expiration: float | None = None

    def outgoing(self, message_id: str) -> Outgoing:
        """The message, encoded."""
        return outgoing(
            self.to,
            self.message,
            message_id,
            mandatory=self.mandatory,
            persistent=self.persistent,
            expiration=self.expiration,
        )


class SaveTerm(NamedTuple):
    """Remember the highest term for good, before anything said under it is done."""

    term: int


class Checkpoint(NamedTuple):
    """Write to the journal."""

    entries: tuple[Entry, ...]


class SaveReservations(NamedTuple):
    """Remember for good what is held for others, before anything uses it."""

    reserved_resources: ReservedResources
    dropped_volumes: tuple[str, ...]


class DropVolumes(NamedTuple):
    """Delete the folders of volumes, unless what is held could not be saved."""

    volume_ids: tuple[str, ...]


class LaunchProcess(NamedTuple):
    """Start a task's process."""

    spec: LaunchSpec


class KillProcess(NamedTuple):
    """End a task's process tree; SIGKILL after ``grace`` seconds."""

    task_id: str
    grace: float


class WithdrawProcess(NamedTuple):
    """Do not start a task that waits in its line, unless it has had its turn."""

    task_id: str


class Forget(NamedTuple):
    """The containerizer need not keep this outcome."""

    task_id: str


class AskHello(NamedTuple):
    """Ask the masters for the number of cells, then call ``on_hello``."""


Effect = (
    Publish
    | SaveTerm
    | Checkpoint
    | SaveReservations
    | DropVolumes
    | LaunchProcess
    | KillProcess
    | WithdrawProcess
    | Forget
    | AskHello
)
