"""A gang: four tasks that start together or not at all, wherever there is room for all of them."""

import os
import sys
import uuid

from broker_mesos import CommandInfo, FrameworkInfo, Resources, Scheduler, SchedulerDriver, Shape, TaskInfo

GANG = Shape(resources=Resources.parse("cpus:1;mem:64"), count=4, gang="ring")


class Ring(Scheduler):
    ended = 0

    def registered(self, driver, framework_id):
        driver.want([GANG])

    def gang_offers(self, driver, gang, placement):
        for number, part in enumerate(placement.parts):  # a part is one agent
            tasks = [
                TaskInfo(
                    task_id=f"{gang}-{number}-{member}",
                    resources=shape.resources,
                    command=CommandInfo(arguments=("echo", "together")),
                )
                for shape, count in part.tasks
                for member in range(count)
            ]
            driver.accept(part.offers, tasks)
        driver.want([])  # all of it is launched

    def status_update(self, driver, status):
        print(status.task_id, status.state.short, "on", status.agent_id)
        self.ended += status.state.terminal
        if self.ended == GANG.count:
            driver.stop()


if __name__ == "__main__":
    url = os.environ.get("BMESOS_BROKER_URL", "memory://")
    framework = FrameworkInfo(framework_id=f"ring-{uuid.uuid4().hex[:8]}", name="Ring")
    sys.exit(SchedulerDriver(Ring(), framework, url).main())
