"""Every error that a caller of broker_mesos can meet, as one tree.

::

    BrokerMesosError                 failed       HTTP 500  exit 1
    ├── InvalidInput (ValueError)    invalid      HTTP 400  exit 2: the request can never be accepted as it is
    │   ├── InvalidResources
    │   └── InvalidMessage           a message that cannot be decoded
    │       ├── UnknownMessage       its type is not known: a newer release may know it
    │       └── WrongSender          its sender is not the one that it must have
    ├── Denied                       denied       HTTP 403  exit 5: its sender has no right to it
    ├── NotFound                     not_found    HTTP 404  exit 3: no such job, task, agent or file
    ├── Conflict                     conflict     HTTP 409  exit 1: it exists already, and differs
    │   └── FrameworkRefused         the framework's id has ended: subscribe with a new one
    ├── Unavailable                  unavailable  HTTP 503  exit 4: a server, master or agent does not answer
    │   ├── BusUnavailable
    │   ├── StoreUnavailable
    │   └── TimedOut                 timed_out    HTTP 504  exit 4: no answer within the time limit
    └── Fenced                       another owner has the cell now: drop the cache, consume from the start
        └── StoreLostData            the commit number in the store is not the expected one

A class that has a code of its own declares it with its HTTP status and exit code; its subclasses inherit all
three. ``BY_CODE`` is the way back from a code in an answer to the class to raise.

The message of an error is one line: what is wrong, and what to do next. What it repeats of somebody's input cannot
break that line, or make it longer than MAX_MESSAGE characters. Errors of pika, redis and the
operating system are translated into these at the adapters' border, with passwords removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

MAX_MESSAGE: Final = 2_500
"""The longest message of an error, in characters."""


class BrokerMesosError(Exception):
    """Base of all errors raised on purpose by this package."""

    error_code: ClassVar[str] = "failed"
    """The name of the error in answers, over the bus and over HTTP alike."""
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    """Exit code of a command that ends with this error."""

    def __init__(self, message: str = "") -> None:
        super().__init__(_one_line(message))


class InvalidInput(BrokerMesosError, ValueError):
    """What was given can never be accepted as it stands."""

    error_code = "invalid"
    http_status = 400
    exit_code = 2


class InvalidResources(InvalidInput):
    """A resource text or an operation on resources makes no sense."""


class InvalidMessage(InvalidInput):
    """A message of an unknown type, or one whose body does not fit its type."""


class UnknownMessage(InvalidMessage):
    """A message of a type that this release does not know."""


class WrongSender(InvalidMessage):
    """A message whose sender, as the broker has verified it, is not the one that it must have."""


class Denied(BrokerMesosError):
    """Its sender has no right to what a request asks for."""

    error_code = "denied"
    http_status = 403
    exit_code = 5


class NotFound(BrokerMesosError):
    """The named job, task, agent, framework or file does not exist."""

    error_code = "not_found"
    http_status = 404
    exit_code = 3


class Conflict(BrokerMesosError):
    """The same id is in use for something else."""

    error_code = "conflict"
    http_status = 409
    exit_code = 1


class FrameworkRefused(Conflict):
    """The cluster refuses a framework, usually because one with its id was torn down."""


class Unavailable(BrokerMesosError):
    """Somebody who has to answer does not, now; the same request may work later."""

    error_code = "unavailable"
    http_status = 503
    exit_code = 4


class BusUnavailable(Unavailable):
    """RabbitMQ cannot be reached, refused the connection, or closed it."""


class StoreUnavailable(Unavailable):
    """Redis cannot be reached, refuses writes, or did not answer in time."""


class TimedOut(Unavailable):
    """No answer within the caller's time limit."""

    error_code = "timed_out"
    http_status = 504
    exit_code = 4


class Fenced(BrokerMesosError):
    """The lease of this cell is held under another term or nonce than the caller's."""


class StoreLostData(Fenced):
    """The commit number found in the store is not the caller's last one: the store went back in time."""


def _one_line(message: str) -> str:
    """The message, cut to its bound, with characters escaped that would break its line or change the terminal."""
    if len(message) > MAX_MESSAGE:
        message = message[: MAX_MESSAGE - 1] + "…"
    if message.isprintable():
        return message
    escaped = "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)
    return escaped if len(escaped) <= MAX_MESSAGE else escaped[: MAX_MESSAGE - 1] + "…"


def family(kind: type[BrokerMesosError] = BrokerMesosError) -> Iterator[type[BrokerMesosError]]:
    """A class and all that are derived from it so far."""
    yield kind
    for each in kind.__subclasses__():
        yield from family(each)


BY_CODE: dict[str, type[BrokerMesosError]] = {each.error_code: each for each in family() if "error_code" in vars(each)}
"""The class to raise for the code of an error in an answer. Codes of a newer release are not in it: they are
BrokerMesosError."""


def error_of(code: str, message: str) -> BrokerMesosError:
    """The error to raise for an error in an answer."""
    return BY_CODE.get(code, BrokerMesosError)(message)
