"""Every error that a caller of broker_mesos can meet, as one tree.

::

    BrokerMesosError                 exit code 1
    ├── InvalidInput (ValueError)    exit code 2: what was asked for can never be right
    │   ├── InvalidResources
    │   └── InvalidMessage           a message that cannot be decoded
    │       └── UnknownMessage       its type is not known: a newer release may know it
    ├── NotFound                     exit code 3: no such job, task, agent or file
    ├── Conflict                     exit code 1: it exists already, and differs
    ├── Unavailable                  exit code 4: a server, master or agent does not answer
    │   ├── BusUnavailable
    │   ├── StoreUnavailable
    │   └── TimedOut
    └── Fenced                       another owner holds the cell now; drop the cache, consume anew
        └── StoreLostData            the commit number in the store is not the expected one

The message of an error is one line: what is wrong, and what to do next. Errors of pika, redis and the
operating system are translated into these at the adapters' border, with passwords removed.
"""

from __future__ import annotations


class BrokerMesosError(Exception):
    """Base of all errors raised on purpose by this package."""

    exit_code = 1


class InvalidInput(BrokerMesosError, ValueError):
    """What was given can never be accepted as it stands."""

    exit_code = 2


class InvalidResources(InvalidInput):
    """A resource text or an operation on resources makes no sense."""


class InvalidMessage(InvalidInput):
    """A message of an unknown type, or one whose body does not fit its type."""


class UnknownMessage(InvalidMessage):
    """A message of a type that this release does not know."""


class NotFound(BrokerMesosError):
    """The named job, task, agent, framework or file does not exist."""

    exit_code = 3


class Conflict(BrokerMesosError):
    """The same id is in use for something else."""


class Unavailable(BrokerMesosError):
    """Somebody who has to answer does not, now; the same request may work later."""

    exit_code = 4


class BusUnavailable(Unavailable):
    """RabbitMQ cannot be reached, refused the connection, or closed it."""


class StoreUnavailable(Unavailable):
    """Redis cannot be reached, refuses writes, or did not answer in time."""


class TimedOut(Unavailable):
    """No answer within the caller's time limit."""


class Fenced(BrokerMesosError):
    """The lease of this cell is held under another term or nonce than the caller's."""


class StoreLostData(Fenced):
    """The commit number found in the store is not the caller's last one: the store went back in time."""
