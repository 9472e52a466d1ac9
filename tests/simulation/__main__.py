"""``python -m tests.simulation --seeds 1000``: run seeds, print those that fail and how to replay them."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.world import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--verbose", action="store_true", help="say all that happens")
    parser.add_argument("--twice", action="store_true", help="run every seed twice, and compare")
    parser.add_argument("--keep-going", type=int, default=20, help="stop after so many failures")
    parser.add_argument("--profile", choices=("calm", "crash", "full"), default="full")
    options = parser.parse_args()
    seeds = range(options.start, options.start + options.seeds)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    failed: list[int] = []
    began = time.perf_counter()
    steps = launches = done = 0
    virtual = 0.0
    for seed in seeds:
        outcome = simulate(seed, options.profile, print if options.verbose else None)
        problems = list(outcome.violations)
        if options.twice and simulate(seed, options.profile).digest != outcome.digest:
            problems.append("a second run went another way")
        done += 1
        steps += outcome.steps
        launches += outcome.launches
        virtual += outcome.seconds
        if problems:
            failed.append(seed)
            print(f"seed {seed} fails: {problems[0]}")
            print(f"  faults: {'; '.join(outcome.faults)}")
            print(
                f"  replay: python -m tests.simulation --profile {options.profile} --seed {seed} --verbose",
                flush=True,
            )
            if len(failed) >= options.keep_going:
                break
    took = time.perf_counter() - began
    print(
        f"{done} seeds, {len(failed)} failed; {took:.1f} s, {took / done:.3f} s a seed, "
        f"with {steps // done} steps, {launches // done} launches and {virtual / done:.0f} virtual seconds"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of text keep their order from run to run only so.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
