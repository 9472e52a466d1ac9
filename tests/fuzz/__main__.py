"""Looks for new examples for some time: ``python -m tests.fuzz --seconds 600``. It ends with 1 at the first failure.

Each round runs the tests with another seed of hypothesis; the seed of a failure is printed, and finds it again.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
OPENAPI = HERE.parent / "security" / "test_openapi.py"
ROUND_SECONDS = 3_600
OPTIONS = ("-q", "-s", "-p", "no:cacheprovider", "--tb=short", f"--timeout={ROUND_SECONDS}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("BMESOS_FUZZ_SECONDS") or 600))
    parser.add_argument("--seed", type=int, default=None, help="run one round, with this seed")
    parser.add_argument("--servers", action="store_true", help="the OpenAPI on real servers, too")
    parser.add_argument("tests", nargs="*", default=[str(HERE)])
    given = parser.parse_args()
    tests = [*given.tests, *([str(OPENAPI)] if given.servers else [])]
    began, rounds, examples = time.monotonic(), 0, 0
    while True:
        seed = random.randrange(2**32) if given.seed is None else given.seed
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *OPTIONS, f"--hypothesis-seed={seed}", *tests],
            env={**os.environ, "BMESOS_FUZZ_ROUND": str(seed)},
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        rounds += 1
        examples += sum(int(number) for number in re.findall(r"^fuzzing tried (\d+) examples", done.stdout, re.M))
        passed = time.monotonic() - began
        print(f"{passed:.0f} s: {rounds} rounds, {examples} examples, the last with seed {seed}", flush=True)
        if done.returncode:
            print(done.stdout[-20_000:])
            print(f"to see it again: python -m tests.fuzz --seed {seed} {' '.join(tests)}", file=sys.stderr)
            return 1
        if given.seed is not None or passed >= given.seconds:
            return 0


if __name__ == "__main__":
    sys.exit(main())
