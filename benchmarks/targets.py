"""The figures to reach: what the head of ``docs/benchmarks.md`` compares the measured ones with.

A target names its figure by the benchmark that measures it and the ``key`` that this gives to ``Record.add``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One line of the table."""

    name: str
    bench: str
    key: str
    unit: str
    least: float | None
    """What is asked for at least; None where there is an aim alone."""
    aim: float | None
    """What would be fine; None where that is not one number, and ``aim_text`` says it."""
    aim_text: str = ""
    more: bool = False
    """Whether more is better."""

    def verdict(self, value: float | None, size: str = "usual") -> str:
        """In words. A run of the size ``small`` proves nothing."""
        if value is None:
            return "not measured"
        if size == "small":
            return "a trial, too small to tell"
        if self.aim is not None and self._reaches(value, self.aim):
            return "aim met"
        if self.least is None:
            return "aim not met"
        return "met" if self._reaches(value, self.least) else "**not met**"

    def _reaches(self, value: float, mark: float) -> bool:
        return value >= mark if self.more else value <= mark


TARGETS = (
    Target("process tasks a second, against Celery", "tasks", "celery", "×", 1.2, None, "next line", True),
    Target("process tasks a second, against the best peer", "tasks", "best-peer", "×", None, 1.0, "", True),
    Target("process tasks against spawn and wait on one core", "tasks", "bare", "×", 0.45, 0.8, "", True),
    Target("CPU of all daemons and both servers, a task", "tasks", "cpu", "ms", 1.5, 0.6),
    Target("latency p50 of a task, over Python, idle cluster", "latency", "p50", "ms", 20, 8),
    Target("latency p99 of a task, over Python, idle cluster", "latency", "p99", "ms", 40, 15),
    Target("`bmesos submit --wait -- true`, whole process", "latency", "cli", "s", 0.6, 0.25),
    Target("tasks a second with security and TLS, against without", "security", "rate", "×", 0.9, None, "", True),
    Target("latency p50 with security and TLS, against without", "security", "p50", "×", 1.15, None),
    Target("tasks a second with limits, against without", "isolation", "limits-rate", "×", 0.8, None, "", True),
    Target("tasks a second sandboxed, against without", "isolation", "sandboxed-rate", "×", 0.35, None, "", True),
    Target("latency p50 with limits, against without", "isolation", "limits-p50", "×", 1.15, None),
    Target("10,000 agents, full load: slot free → next task, p99", "agents", "slot-p99", "s", 1, 0.25),
    Target("allocation, 10,000 agents × 1,000 frameworks: full", "allocator", "full", "s", 1.4, 0.3),
    Target("allocation, the same: 1% changed", "allocator", "changed", "ms", 100, 10),
    Target("failover, 10,000 agents, 100,000 tasks", "agents", "failover", "s", 2, 0.5),
    Target("owner's memory at that size", "agents", "owner-memory", "MB", 600, 250),
    Target("dashboard: scripts of the first page, with its chart", "dashboard", "js", "kB", 60, None),
    Target("dashboard: style sheet", "dashboard", "css", "kB", 10, None),
    Target("dashboard, 10,000 agents: first content", "dashboard", "first", "s", 1, None),
    Target("dashboard, 10,000 agents: usable", "dashboard", "usable", "s", 1.5, None),
    Target("dashboard: long tasks in 60 s of live data", "dashboard", "long", "", 0, None),
    Target("dashboard: frames a second while scrolling", "dashboard", "frames", "", 50, None, "", True),
    Target("dashboard: sort 10,000 agents", "dashboard", "sort", "ms", 50, None),
    Target("dashboard: filter 10,000 agents", "dashboard", "filter", "ms", 50, None),
    Target("dashboard: heap of the page", "dashboard", "heap", "MB", 80, None),
    Target("dashboard: sent to a viewer", "dashboard", "bytes-50", "kB/s", 30, None),
    Target("dashboard, 50 viewers: CPU of the web server", "dashboard", "web-50", "cores", 1, None),
    Target("dashboard, nobody looks: CPU of the web server", "dashboard", "web-0", "cores", 0.01, None),
    Target("dashboard: allocation p99 with 50 viewers, against 1", "dashboard", "p99", "×", 1.05, None),
    Target("idle cluster of 3 agents: CPU of all daemons", "footprint", "idle", "%", 2, 0.5),
)
