"""The message about a job that the batch framework publishes on the feed."""

from __future__ import annotations

from broker_mesos.core.api.jobs import JobSummary
from broker_mesos.core.protocol.wire import Message, register


@register
class JobChanged(Message):
    """A job's counts changed (sent at most a few times a second) or the job ended (sent at once). On the feed with
    the routing key ``job.<id>``; a listener keeps the summary with the highest version, so that neither repeats nor
    order matter."""

    TYPE = "JOB_CHANGED"
    summary: JobSummary
