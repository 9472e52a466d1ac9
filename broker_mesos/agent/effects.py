"""The effects that the agent's decisions return. The shell carries them out in order, each before the next."""

from __future__ import annotations

from typing import NamedTuple

from broker_mesos.agent.checkpoint import Entry
from broker_mesos.core.model.reservation import ReservedResources
from broker_mesos.core.protocol.addresses import Address
from broker_mesos.core.protocol.wire import Message
from broker_mesos.ports.bus import Outgoing, outgoing
from broker_mesos.ports.containerizer import LaunchSpec


class Publish(NamedTuple):
    """Send a message; ``expiration`` is its time to live, in seconds."""

    to: Address
    message: Message
    mandatory: bool = False
    persistent: bool = True
    expiration: float | None = None

    def outgoing(self, message_id: str) -> Outgoing:
        """The encoded message, with its address and properties."""
        return outgoing(
            self.to,
            self.message,
            message_id,
            mandatory=self.mandatory,
            persistent=self.persistent,
            expiration=self.expiration,
        )


class SaveTerm(NamedTuple):
    """Store the highest term durably, before any command under it is applied."""

    term: int


class Checkpoint(NamedTuple):
    """Append records to the journal."""

    entries: tuple[Entry, ...]


class SaveReservations(NamedTuple):
    """Store the reservations and volumes durably, before anything uses them."""

    reserved_resources: ReservedResources
    dropped_volumes: tuple[str, ...]


class DropVolumes(NamedTuple):
    """Delete the folders of volumes, unless the reservations could not be saved."""

    volume_ids: tuple[str, ...]


class LaunchProcess(NamedTuple):
    """Start a task's process."""

    spec: LaunchSpec


class KillProcess(NamedTuple):
    """End a task's process tree; SIGKILL after ``grace`` seconds."""

    task_id: str
    grace: float


class WithdrawProcess(NamedTuple):
    """Withdraw a queued task from the containerizer, unless it has been started."""

    task_id: str


class Forget(NamedTuple):
    """Let the containerizer delete the outcome of a task."""

    task_id: str


class AskHello(NamedTuple):
    """Ask the masters for the number of cells, then call ``on_hello``."""


class LeaveCommands(NamedTuple):
    """Stop to consume the queue of commands for ``seconds``, so that another agent with this id can consume it."""

    seconds: float
    message: str


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
    | LeaveCommands
)
