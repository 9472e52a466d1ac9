"""What the batch framework tells whoever listens to the feed."""

from __future__ import annotations

from broker_mesos.core.api.jobs import JobSummary
from broker_mesos.core.protocol.wire import Message, register


@register
class JobChanged(Message):
    """A job moved on (at most a few times a second) or ended (at once). On the feed as ``job.<id>``; a
    listener keeps the summary with the highest version, and so neither repeats nor order matter."""

    TYPE = "JOB_CHANGED"
    summary: JobSummary
