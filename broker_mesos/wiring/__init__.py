"""The only room that chooses adapters and builds daemons from them, a file for each: one imports nothing that
only another needs.

``run_*`` block until SIGTERM or Ctrl-C and return an exit code; errors of the tree are raised to the face
that called.
"""
