"""``python -m benchmarks.fleet``: ``bmesos simulate agents`` that also tells every refill of a slot, so that
percentiles are those of the whole time. Prints a JSON line each second."""

from __future__ import annotations

import argparse
import json
import sys

from broker_mesos.core.model.resources import Resources
from broker_mesos.runtime.settings import load
from broker_mesos.simulated.runner import FleetPlan, run_fleet


def main() -> None:
    """Simulate until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--prefix", default="sim")
    parser.add_argument("--resources", default="cpus:2;mem:256")
    parser.add_argument("--duration", default="30s")
    parser.add_argument("--steady", type=float, help="seconds after which the first tasks may end")
    options = parser.parse_args()
    resources = Resources.parse(options.resources)
    plan = FleetPlan(
        options.count,
        resources,
        options.duration,
        options.prefix,
        report=1.0,
        samples=True,
        steady=options.steady,
    )
    sys.exit(run_fleet(load(), plan, lambda said: print(json.dumps(said), flush=True)))


if __name__ == "__main__":
    main()
