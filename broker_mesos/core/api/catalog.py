"""All operator requests, and those that users may send."""

from __future__ import annotations

from broker_mesos.core.api import (
    agent_table,
    agents,
    cells,
    cluster,
    dead_letters,
    doctor,
    enrolment,
    events,
    exec,
    explain,
    files,
    frameworks,
    health,
    history,
    jobs,
    maintenance,
    overview,
    reservations,
    roles,
    search,
    state,
    story,
    timeline,
    usage,
    waiting,
    whoami,
)
from broker_mesos.core.api.request import Request
from broker_mesos.core.protocol.wire import REGISTRY

REQUEST_MODULES = (
    agent_table,
    agents,
    cells,
    cluster,
    dead_letters,
    doctor,
    enrolment,
    exec,
    events,
    explain,
    files,
    frameworks,
    health,
    history,
    jobs,
    maintenance,
    overview,
    reservations,
    roles,
    search,
    state,
    story,
    timeline,
    usage,
    waiting,
    whoami,
)
"""The modules with operator requests. Importing a module registers its requests."""

REQUESTS: dict[str, type[Request]] = {
    name: kind
    for name, kind in sorted(REGISTRY.items())
    if issubclass(kind, Request) and kind.__module__ in {module.__name__ for module in REQUEST_MODULES}
}
"""All operator requests by type, in alphabetical order."""

USER_REQUESTS: dict[str, type[Request]] = {name: kind for name, kind in REQUESTS.items() if kind.FOR_USERS}
"""The requests that users may send, by type."""
