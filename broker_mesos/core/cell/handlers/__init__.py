"""Handlers: what each input changes in the state of a cell, one file a subject."""
