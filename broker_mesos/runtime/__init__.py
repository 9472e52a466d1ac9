"""What every process needs besides its work: settings, logs, clock, signals, time limits, plugins."""
