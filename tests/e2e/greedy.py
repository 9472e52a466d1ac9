"""A framework that runs COUNT tasks in ROLE as fast as it is let; each writes into LOG at its begin and end.

``python greedy.py ROLE COUNT LOG``
"""

from __future__ import annotations

import sys

from broker_mesos import CommandInfo, FrameworkInfo, Resources, Scheduler, SchedulerDriver, TaskInfo

NEED = Resources.parse("cpus:1;mem:32")


class Greedy(Scheduler):
    def __init__(self, name: str, count: int, log: str) -> None:
        self.waiting = [f"{name}-{number}" for number in range(count)]
        self.running = count
        # Opened for appending: what two tasks write at once still stands in an order.
        self.command = CommandInfo(arguments=(f"echo + >> {log}; sleep 0.2; echo - >> {log}",), shell=True)

    def resource_offers(self, driver, offers):
        for offer in offers:
            tasks, left = [], offer.resources
            while self.waiting and left.contains(NEED):
                tasks.append(TaskInfo(task_id=self.waiting.pop(), resources=NEED, command=self.command))
                left -= NEED
            driver.accept(offer, tasks, refuse_seconds=0.0)

    def status_update(self, driver, status):
        if status.state.terminal:
            assert status.state.short == "finished", status
            self.running -= 1
            if not self.running:
                driver.stop()


if __name__ == "__main__":
    role, count, log = sys.argv[1:]
    name = role.replace("/", "-")
    SchedulerDriver(Greedy(name, int(count), log), FrameworkInfo(framework_id=name, name=name, roles=(role,))).run()
