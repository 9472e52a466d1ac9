"""What a user might pick instead, measured in the same run: each side of it in a file of its own.

``peer`` installs, starts, asks and ends one; the ``…_app`` files are run by it, in the peer's environment.
"""
