"""Operator requests and their answers, one file a subject."""
