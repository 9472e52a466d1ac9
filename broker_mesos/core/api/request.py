"""The base class of operator requests, their answer, and errors on the wire.

A request is a message with ``reply_to``; its answer is one ``ANSWER`` message with the same correlation id:
either ``data`` (decoded by the request's ``ANSWER`` class) or an ``error``. Requests change nothing when
repeated, or name the id that makes the repeat harmless.

All properties of a request are declared in its class and nowhere else: the gateway, the HTTP server, the daemons, the
client and the generated documentation read them from there. ``catalog.py`` lists all requests.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from broker_mesos import errors
from broker_mesos.core.model.part import JsonObject, Part
from broker_mesos.core.protocol.envelope import ANSWER_TYPE
from broker_mesos.core.protocol.wire import Message, first_problem, register


class Route(StrEnum):
    """Which daemon answers a request."""

    GATEWAY = "gateway"
    """The gateway itself, which sends other requests and combines their answers."""
    MASTER = "any master"
    CELL = "one cell"
    """The owner of the cell of the agent that ``agent_id`` names."""
    CELLS = "all cells"
    """The owners of all cells; the gateway combines their answers."""
    FRAMEWORK = "framework"
    """The processes of a built-in framework, as listed in the framework registry."""
    AGENT = "agent"
    ENROLL = "the enrolment server"


class Right(StrEnum):
    """What a principal may do."""

    VIEW = "view"
    """See the cluster, its jobs and their output."""
    FILES = "files"
    """See the files of tasks beside their output."""
    SUBMIT = "submit"
    """Submit jobs, and run ended ones of its own again."""
    KILL = "kill"
    """Kill its own jobs, or any; who answers knows the owner and checks which."""
    KILL_ANY = "kill:any"
    """Kill any job and task. Requests have this right whose answerer does not know whose task it is."""
    EXEC = "exec"
    """Run commands beside tasks of its own jobs, or of any; who answers knows the owner and checks which."""
    DRAIN = "drain"
    """Drain and activate agents, and plan absences."""
    ROLES = "roles"
    """Set weights, guarantees and limits of roles."""
    POLICY = "policy"
    """Choose the policy by which resources are divided."""
    HOLDINGS = "holdings"
    """Reserve resources, and create and delete volumes."""
    LETTERS = "letters"
    """See, send again and drop dead letters."""
    GONE = "gone"
    """Give up agents, and tear down and readmit frameworks."""
    ENROLL = "enroll"
    """Let the id of an agent be enrolled again."""


class ErrorInfo(Part):
    """An error on the wire. ``code`` is one of ``errors.BY_CODE``, or a code of a newer release."""

    code: str = errors.BrokerMesosError.error_code
    message: str

    @classmethod
    def of(cls, error: errors.BrokerMesosError) -> ErrorInfo:
        """The wire form of an error."""
        return cls(code=error.error_code, message=str(error))

    def exception(self) -> errors.BrokerMesosError:
        """The error to raise where the answer arrives."""
        return errors.error_of(self.code, self.message)


@register
class Answer(Message):
    """The answer to any request."""

    TYPE = ANSWER_TYPE
    error: ErrorInfo | None = None
    data: JsonObject = Field(default_factory=dict)


class Request(Message):
    """The base class of operator requests, with the properties that each request class declares."""

    ANSWER: ClassVar[type[Part]] = Part
    """The class of its answer."""
    ROUTE: ClassVar[Route]
    """The daemon that answers it."""
    FOR_USERS: ClassVar[bool] = False
    """Whether users may send it to the gateway, over HTTP or RabbitMQ. Otherwise only daemons send it."""
    RIGHT: ClassVar[Right | None] = None
    """The right that a principal needs to send it. None: whoever reaches the gateway may send it."""

    AUDITED: ClassVar[bool] = True
    """Whether it is logged as an action, if it has another right than to view; one that is denied always is."""

    @property
    def audited(self) -> bool:
        """Whether this one is logged as an action."""
        return self.AUDITED

    @property
    def named_role(self) -> str:
        """The role that it uses resources of; empty if it names none."""
        return ""

    @property
    def named_task_user(self) -> str:
        """The user of agents' machines as which tasks are to run because of it; empty if it names none."""
        return ""

    @property
    def wait_seconds(self) -> float:
        """The longest time for which this request lets its answer be delayed, in seconds. Timeouts are added to it."""
        return 0.0

    def answer(self, data: JsonObject) -> Part:
        """The answer to this request that has this data. Raises InvalidMessage if it is not one."""
        try:
            return self.ANSWER.model_validate(data)
        except ValidationError as error:
            raise errors.InvalidMessage(f"answer to {self.TYPE}: {first_problem(error)}") from None


def answer_of(part: Part) -> Answer:
    """A successful answer."""
    data: dict[str, Any] = part.model_dump(mode="json")
    return Answer(data=data)
