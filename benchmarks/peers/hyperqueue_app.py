"""HyperQueue's side: its own server and a worker of 8 CPUs, which its Python package runs in this process."""

from __future__ import annotations

import time
from typing import Any

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig
from loop import TRUE, serve


class NotYet(Exception):
    """The job runs."""


def look(jobs: dict[int, dict[str, Any]]) -> None:
    """Leave the package's own waiting, which looks once a second: too rarely for what is measured here."""
    if not all(job["completed"] for job in jobs.values()):
        raise NotYet


def main() -> None:
    """Serve until stdin ends."""
    with LocalCluster(worker_config=WorkerConfig(cores=8)) as cluster:
        client = cluster.client()

        def many(count: int) -> None:
            job = Job()
            for _ in range(count):
                job.program([TRUE], stdout=None, stderr=None)
            submitted = client.submit(job)
            while True:
                try:
                    failed = client.connection.wait_for_jobs((submitted.id,), look)
                    break
                except NotYet:
                    time.sleep(0.002)
            assert not failed
            client.forget(submitted)

        serve(many, lambda: many(1))


if __name__ == "__main__":
    main()
