"""Allocation policies, with one file for each policy; ``policy.py`` has their common interface."""
