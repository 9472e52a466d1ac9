"""broker_mesos: Mesos rebuilt on RabbitMQ and Redis.

What a framework's author or a client needs is imported from here. Each name is loaded when it is first
used: ``import broker_mesos`` alone costs nothing, and neither do the parts of a program that need little.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

# Not that of `typing`, which takes longer to import than all else that `bmesos` does before it handles Ctrl-C.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from broker_mesos.client import Client, Job
    from broker_mesos.core.model.framework import FrameworkInfo, Shape
    from broker_mesos.core.model.offer import InverseOffer, Offer
    from broker_mesos.core.model.port_numbers import pick_ports, port_variables
    from broker_mesos.core.model.reservation import Operation, OperationStatus, Volume
    from broker_mesos.core.model.resources import Resources
    from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus, VolumeMount
    from broker_mesos.core.model.task_states import Reason, TaskState
    from broker_mesos.errors import (
        BrokerMesosError,
        Conflict,
        FrameworkRefused,
        InvalidInput,
        NotFound,
        TimedOut,
        Unavailable,
    )
    from broker_mesos.framework import SchedulerDriver
    from broker_mesos.sdk import Driver, DriverSettings, Scheduler
    from broker_mesos.wiring.local import LocalCluster

__all__ = [
    "BrokerMesosError",
    "Client",
    "CommandInfo",
    "Conflict",
    "Driver",
    "DriverSettings",
    "FrameworkInfo",
    "FrameworkRefused",
    "InvalidInput",
    "InverseOffer",
    "Job",
    "LocalCluster",
    "NotFound",
    "Offer",
    "Operation",
    "OperationStatus",
    "Reason",
    "Resources",
    "Scheduler",
    "SchedulerDriver",
    "Shape",
    "TaskInfo",
    "TaskState",
    "TaskStatus",
    "TimedOut",
    "Unavailable",
    "Volume",
    "VolumeMount",
    "__version__",
    "pick_ports",
    "port_variables",
]

_FROM = {
    "client": ("Client", "Job"),
    "core.model.framework": ("FrameworkInfo", "Shape"),
    "core.model.offer": ("InverseOffer", "Offer"),
    "core.model.port_numbers": ("pick_ports", "port_variables"),
    "core.model.reservation": ("Operation", "OperationStatus", "Volume"),
    "core.model.resources": ("Resources",),
    "core.model.task": ("CommandInfo", "TaskInfo", "TaskStatus", "VolumeMount"),
    "core.model.task_states": ("Reason", "TaskState"),
    "errors": (
        "BrokerMesosError",
        "Conflict",
        "FrameworkRefused",
        "InvalidInput",
        "NotFound",
        "TimedOut",
        "Unavailable",
    ),
    "framework": ("SchedulerDriver",),
    "sdk": ("Driver", "DriverSettings", "Scheduler"),
    "wiring.local": ("LocalCluster",),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _FROM.items() for name in names}


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
