"""The master daemon: any number of processes, which own the cells between them."""
