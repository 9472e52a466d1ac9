"""The only folder that chooses adapters and builds daemons from them, with one file for each daemon: none of them
imports what only another one needs.

``run_*`` block until SIGTERM or Ctrl-C and return an exit code; errors of ``broker_mesos.errors`` are raised to the
caller.
"""
