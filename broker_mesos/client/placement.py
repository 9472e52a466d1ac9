"""Reads the options of a job about its ports and about how many of its tasks run beside each other."""

from __future__ import annotations

import re
from typing import Any

from broker_mesos.client.names import shown
from broker_mesos.client.options import JobOptions
from broker_mesos.errors import InvalidInput

GUARD = "placement-of-a-later-release"
"""See ``core.model.job.PLACEMENT_GUARD``: the cluster may be of a release that knows neither of these options."""
MAX_PORTS = 1_000
"""See ``core.model.port_numbers.MAX_PORTS``."""
_ON_AGENT = r"!?\s*agent\s*(?:[=!~].*)?"


def put_placement(spec: dict[str, Any], options: JobOptions) -> None:
    """Put the number and names of ports, and the limit of tasks for each value of an attribute, into the JSON of a
    job. Raises InvalidInput."""
    ports, names = options.get("ports"), options.get("port_names") or ()
    names = names.split(",") if isinstance(names, str) else list(names)
    if ports is None:
        ports = len(names)
    if isinstance(ports, bool) or not isinstance(ports, int) or not 0 <= ports <= MAX_PORTS:
        raise InvalidInput(f"ports {shown(ports)}: write a number of ports from 0 to {MAX_PORTS}")
    if ports:
        spec["ports"] = ports
    if names:
        from broker_mesos.core.model.port_numbers import check_port_names

        try:
            check_port_names(names, ports)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        spec["port_names"] = names
    most, per = options.get("most"), options.get("per")
    if most is not None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise InvalidInput(f"most {shown(most)}: write a number of tasks of at least 1")
        if options.get("array") is None:
            raise InvalidInput("most is for an array, of which it limits the tasks on each agent: give --array as well")
        spec["most"] = most
    if per is not None:
        from broker_mesos.core.model.attributes import check_attribute_name

        if most is None:
            raise InvalidInput(f"per {shown(per)} is given without most: say how many tasks may run for each value")
        spec["per"] = check_attribute_name(per)
    names_agent = any(re.fullmatch(_ON_AGENT, each, re.DOTALL) for each in spec.get("constraints", ()))
    if "ports" in spec or "most" in spec or names_agent:
        spec["constraints"] = [*spec.get("constraints", ()), GUARD]
