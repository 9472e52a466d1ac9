"""Records that all cells share: the cluster config, the ledger of limits, the gang token."""
