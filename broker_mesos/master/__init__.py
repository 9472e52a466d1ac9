"""The master daemon: any number of processes, each of which owns some of the cells."""
