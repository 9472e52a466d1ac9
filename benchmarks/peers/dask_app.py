"""Dask's side: a scheduler and 8 worker processes of one thread, which the client starts."""

from __future__ import annotations

import itertools
import subprocess

from distributed import Client, LocalCluster
from loop import TRUE, serve


def run(command: list[str], number: int) -> int:
    """One task; without a number of its own it would be taken for one that was run before."""
    return subprocess.run(command, check=False).returncode


def main() -> None:
    """Serve until stdin ends."""
    numbers = itertools.count()
    workers = LocalCluster(n_workers=8, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1")
    with workers as cluster, Client(cluster) as client:

        def many(count: int) -> None:
            batch = list(itertools.islice(numbers, count))
            futures = client.map(run, [[TRUE]] * count, batch, pure=False)
            assert client.gather(futures) == [0] * count

        def single() -> None:
            assert client.submit(run, [TRUE], next(numbers), pure=False).result(timeout=60) == 0

        serve(many, single)


if __name__ == "__main__":
    main()
