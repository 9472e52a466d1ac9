"""The operator request for the findings of the doctor."""

from __future__ import annotations

from broker_mesos.core.api.findings import Finding, Level
from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register


class DoctorReport(Part):
    """What the doctor finds in the reports of the daemons."""

    worst: Level
    findings: tuple[Finding, ...]


@register
class GetDoctor(Request):
    """Get what is wrong with the cluster and its servers, as far as its daemons report it, and what to do about it."""

    TYPE = "GET_DOCTOR"
    RIGHT = Right.VIEW
    ANSWER = DoctorReport
    ROUTE = Route.GATEWAY
    FOR_USERS = True
