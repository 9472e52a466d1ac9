"""A framework in some 30 lines: it runs three commands wherever they fit, and ends."""

import os
import sys
import uuid

from broker_mesos import CommandInfo, FrameworkInfo, Resources, Scheduler, SchedulerDriver, TaskInfo

NEED = Resources.parse("cpus:1;mem:64")


class Hello(Scheduler):
    waiting = ["hello-1", "hello-2", "hello-3"]
    ended = 0

    def resource_offers(self, driver, offers):
        for offer in offers:
            tasks, left = [], offer.resources
            while self.waiting and left.contains(NEED):
                command = CommandInfo(arguments=("echo", "hello"))
                tasks.append(TaskInfo(task_id=self.waiting.pop(0), resources=NEED, command=command))
                left -= NEED
            driver.accept(offer, tasks)  # no tasks: the offer is declined

    def status_update(self, driver, status):
        print(status.task_id, status.state.short, "on", status.agent_id)
        self.ended += status.state.terminal
        if self.ended == 3:
            driver.stop()  # this ends the framework's id for good, so each run has a new one


if __name__ == "__main__":
    url = os.environ.get("BMESOS_BROKER_URL", "memory://")  # without a broker: a cluster in this process
    framework = FrameworkInfo(framework_id=f"hello-{uuid.uuid4().hex[:8]}", name="Hello")
    sys.exit(SchedulerDriver(Hello(), framework, url).main())
