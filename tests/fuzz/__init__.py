"""Input that nobody would write on purpose, for every message type and every parser of text.

``make test`` tries a few examples, the same ones each time. ``make fuzz`` looks for new ones for ten minutes, or for
``SECONDS_OF_FUZZING=60``.
"""
