"""What every message has, whatever is in it: commands that load no models send requests by this alone."""

from __future__ import annotations

MAX_BODY = 1 << 20
"""The largest body, in bytes. A larger one is refused by senders and becomes a dead letter at receivers."""

MAX_TERM = 2**52
"""Every term is below this number, since the store compares terms as doubles; half of the exact range leaves room
above any floor."""

ANSWER_TYPE = "ANSWER"
"""The type of the message that answers a request."""
