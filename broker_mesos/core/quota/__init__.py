"""What is set for roles and shared by all cells: the cluster config, the ledger of limits, the gang token."""
