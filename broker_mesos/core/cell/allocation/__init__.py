"""Allocation: which free resources are offered to which frameworks."""
