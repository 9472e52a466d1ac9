"""Operator requests and their answers, with one file for each subject."""
