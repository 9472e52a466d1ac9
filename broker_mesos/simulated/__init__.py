"""Many agents with simulated tasks in one process, for clusters of a size that nobody has machines for."""
