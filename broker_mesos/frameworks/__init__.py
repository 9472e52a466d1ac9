"""Frameworks that ship with broker_mesos, built on the SDK like anyone's."""
