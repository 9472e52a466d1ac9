"""The SDK for frameworks: the callbacks of a Scheduler, and the calls of a driver."""

from __future__ import annotations

from broker_mesos.sdk.driver import Driver
from broker_mesos.sdk.runner import SchedulerDriver
from broker_mesos.sdk.scheduler import Scheduler
from broker_mesos.sdk.settings import DriverSettings

__all__ = ["Driver", "DriverSettings", "Scheduler", "SchedulerDriver"]
