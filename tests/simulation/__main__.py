"""``python -m tests.simulation --seeds 1000``: run seeds, print those that fail and how to replay them."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time

from tests.simulation.planting import mutants, planted
from tests.simulation.world import simulate

PROFILES = (
    "absence",
    "calm",
    "claims",
    "clones",
    "crash",
    "clocks",
    "disks",
    "isolation",
    "large",
    "placement",
    "reuse",
    "views",
    "full",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--verbose", action="store_true", help="say all that happens")
    parser.add_argument("--twice", action="store_true", help="run every seed twice, and compare")
    parser.add_argument("--keep-going", type=int, default=20, help="stop after so many failures")
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="full",
    )
    parser.add_argument("--mutant", choices=sorted(mutants()), help="plant this mistake first")
    parser.add_argument("--table", action="store_true", help="for every mistake: how many seeds it takes to find it")
    parser.add_argument("--only", nargs="*", help="of the table: only these mistakes")
    options = parser.parse_args()
    if options.table:
        return table(options.profile, options.start, options.seeds, options.only or list(mutants()))
    with planted(options.mutant) if options.mutant else contextlib.nullcontext():
        return run(options)


def table(profile: str, start: int, seeds: int, names: list[str]) -> int:
    """One line for each mistake, as in docs/simulation.md: how many seeds it takes to find it."""
    for name in names:
        make, found = mutants()[name], "not found"
        with planted(name):
            for seed in range(start, start + seeds):
                violations = simulate(seed, profile).violations
                if violations:
                    text = violations[0].splitlines()[0].partition(": ")[2]
                    found = f"{seed - start + 1} | {text[:90]}"
                    break
        meaning = " ".join((make.__doc__ or "").split())
        print(f"| {name.replace('-', ' ')} | {meaning} | {found} |", flush=True)
    return 0


def run(options: argparse.Namespace) -> int:
    """Run seeds; 1 if one of them failed."""
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
