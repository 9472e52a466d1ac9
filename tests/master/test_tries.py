"""How an owner's inbox is cut into batches."""

from __future__ import annotations

from collections import deque

from broker_mesos.master.poison import PoisonDetector
from broker_mesos.ports.bus import Delivery
from broker_mesos.runtime.clock import SystemClock
from broker_mesos.store.memory import MemoryStore, MemoryStoreState


def test_a_batch_ends_before_its_bodies_take_too_many_bytes_but_holds_one_message_at_least():
    poison = PoisonDetector(MemoryStore(MemoryStoreState(), SystemClock()), 0)
    inbox = deque(Delivery("t", b"x" * size, f"m{size}", size) for size in (900, 40, 50, 20, 5))
    taken = []
    while inbox:
        taken.append([each.tag for each in poison.take(inbox, 500, 100)])
    assert taken == [[900], [40, 50], [20, 5]]
