"""Many agents with simulated tasks in one process, for clusters of a size for which there are no machines."""
