"""The frameworks that ship with broker_mesos; they use the SDK like any other framework."""
