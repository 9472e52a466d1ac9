"""A peer's client: asked by lines on stdin, answers each with a line of JSON.

Knows the standard library alone, as every peer has an environment of its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

TRUE = "/bin/true"


def serve(many: Callable[[int], None], single: Callable[[], None]) -> None:
    """Answer ``many N`` with the seconds of N tasks at once, ``single N`` with those of N one by one.

    ``many`` and ``single`` return when the results are known, and raise unless all of them are 0.
    """
    many(16)
    single()
    print("ready", flush=True)
    for line in sys.stdin:
        what, count = line.split()
        times = []
        for _ in range(1 if what == "many" else int(count)):
            started = time.perf_counter()
            if what == "many":
                many(int(count))
            else:
                single()
            times.append(time.perf_counter() - started)
        print(json.dumps(times), flush=True)
