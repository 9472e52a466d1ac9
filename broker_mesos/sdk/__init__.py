"""What a framework is written with: a Scheduler's callbacks and a driver's verbs."""

from __future__ import annotations

from broker_mesos.sdk.driver import Driver, DriverSettings
from broker_mesos.sdk.runner import SchedulerDriver
from broker_mesos.sdk.scheduler import Scheduler

__all__ = ["Driver", "DriverSettings", "Scheduler", "SchedulerDriver"]
