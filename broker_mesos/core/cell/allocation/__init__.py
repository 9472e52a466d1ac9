"""Allocation: which free resources are offered to whom."""
