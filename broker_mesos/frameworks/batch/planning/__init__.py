"""Decisions of the batch framework as transactions. Pure."""
