"""Bounds the number of refused enrolments from one address."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

MAX_REFUSED = 10
"""Number of refused attempts of one address within ``WINDOW_SECONDS`` after which it has to wait."""
WINDOW_SECONDS = 60.0
"""Time after which the attempts of an address are forgotten, in seconds."""
MAX_ADDRESSES = 10_000
"""Maximum number of addresses that are remembered; more make it forget the oldest."""


@dataclass
class _Window:
    ends: float
    attempts: int = 0


class Attempts:
    """The attempts of each address. An attempt counts from its beginning, so that many at once are no way around the
    limit, and is taken back if it succeeds."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def begin(self, address: str, now: float) -> float:
        """Count an attempt. Returns the time to wait, in seconds; 0 if the attempt may go on, and otherwise it was
        not counted. ``now`` is in monotonic seconds."""
        network = _network(address)
        window = self._windows.get(network)
        if window is None or window.ends <= now:
            window = self._windows[network] = _Window(now + WINDOW_SECONDS)
            self._windows.move_to_end(network)
            while len(self._windows) > MAX_ADDRESSES:
                self._windows.popitem(last=False)
        if window.attempts >= MAX_REFUSED:
            return window.ends - now
        window.attempts += 1
        return 0.0

    def succeeded(self, address: str) -> None:
        """Take an attempt back."""
        window = self._windows.get(_network(address))
        if window is not None:
            window.attempts = max(0, window.attempts - 1)


def _network(address: str) -> str:
    """The address; of IPv6 its network of 64 bits, since one machine has all of that."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))
