"""Builds a worker of the batch framework from the context that every built-in framework gets."""

from __future__ import annotations

from broker_mesos.frameworks.batch.worker import BatchSettings, BatchWorker
from broker_mesos.frameworks.registry import Context


def build(context: Context) -> BatchWorker:
    """A new worker, which is not running yet."""
    timeout = context.settings.offer_timeout
    limits = BatchSettings(offer_timeout=timeout, sweep_interval=timeout / 2)
    return BatchWorker(
        context.bus, context.records, context.clock, context.new_id, context.rng, limits, access=context.access
    )
