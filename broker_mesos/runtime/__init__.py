"""The parts that every process needs besides its work: settings, logs, clock, signals, timeouts, plugins."""
