"""``python -m benchmarks [name …]``: run benchmarks one after the other, then make the page of all results.

Each is a module of this package with a ``main``, run as a process of its own: one that fails is named at the
end and harms no other. ``--size small`` takes a minute or two, is for trying them, and stores its results
in a temporary folder, or where ``BENCH_RESULTS`` says. ``full`` adds the largest sizes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec

from benchmarks import page
from benchmarks.sizes import RESULTS, add_size, folder


def main() -> int:
    """The exit code: 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(page.ORDER)} (all)")
    add_size(parser)
    options = parser.parse_args()
    there = [name for name in page.ORDER if find_spec(f"benchmarks.{name}") is not None]
    unknown = [name for name in options.names if name not in there]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}; there are: {', '.join(there)}")
    failed = []
    for name in options.names or there:
        print(f"# {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--size", options.size]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if folder(options.size).resolve() == RESULTS.resolve():
        page.write()
    if failed:
        print(f"benchmarks: failed: {', '.join(failed)}; the results of the others are stored", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
