"""``python -m broker_mesos``: the command ``bmesos``."""

import sys

from broker_mesos.cli import main

if __name__ == "__main__":
    sys.exit(main())
