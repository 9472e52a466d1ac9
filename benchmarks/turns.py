"""Peers beside ours: one turn each, again and again, and those that fail left out with the reason."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from benchmarks.peers.peer import PEERS, Peer, PeerFailed, Turn
from benchmarks.record import Record
from benchmarks.rig import Rig

Found = TypeVar("Found")


def add_peers(parser: argparse.ArgumentParser) -> None:
    """``--peers``; ``BENCH_PEERS`` says the same to all benchmarks of a run."""
    given = os.environ.get("BENCH_PEERS", "all")
    parser.add_argument("--peers", default=given, help="all, none, or some: celery,dramatiq,dask,hyperqueue (all)")


class Peers:
    """Those that are to be measured, and still can be."""

    def __init__(self, bench: Rig, names: str) -> None:
        """``names``: ``all``, ``none``, or some of them with commas."""
        wanted = {name.strip().lower() for name in names.split(",")}
        self._bench = bench
        self._peers = [each for each in PEERS if "all" in wanted or each.name.lower() in wanted]
        self._failed: list[tuple[Peer, str]] = []
        self.versions: dict[str, str] = {}

    def each(self, measure: Callable[[Turn], Found]) -> dict[str, Found]:
        """What ``measure`` finds of each in its turn, by name."""
        found = {}
        for peer in list(self._peers):
            try:
                with Turn(peer, self._bench.rabbitmq, self._bench.redis) as turn:
                    found[peer.name] = measure(turn)
                self.versions[peer.name] = f"version {peer.version()}"
            except PeerFailed as error:
                print(f"# {peer.name} is left out: {error}", file=sys.stderr, flush=True)
                self._peers.remove(peer)
                self._failed.append((peer, str(error)))
        return found

    def tell(self, record: Record) -> None:
        """Who was left out, and why."""
        for peer, why in self._failed:
            record.skip(peer.name, why)
