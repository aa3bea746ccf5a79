"""Checks one GPU in less than five minutes: correctness of recording, waits, and cost.

    python benchmarks/gpu.py                        # everything
    python benchmarks/gpu.py --only launches        # one check, or several, by name
    python benchmarks/gpu.py --device cpu --quick   # what a CPU can run of it

Prints PASS, FAIL or SKIP for each check, a table of costs in fused AdamW steps of the same model,
and a verdict. The exit status is 1 if a check has failed. The table stops when the time is up.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import torch
from on_gpu import figures as figures  # which adds its checks
from on_gpu.costs import names_of_models, print_costs
from on_gpu.setting import CHECKS, Machine
from on_gpu.waits import captured

MINUTES = 4.5


def run_checks(machine: Machine, names: Sequence[str]) -> int:
    """Run checks, report each result, and return the number of failures."""
    failed = skipped = 0
    for name in names:
        start = time.perf_counter()
        try:
            note = CHECKS[name](machine)
        except Exception as error:
            failed += 1
            verdict, note = "FAIL", f"{type(error).__name__}: {str(error)[:600]}"
        else:
            verdict = "SKIP" if note is None else "PASS"
            skipped += note is None
        took = f"({time.perf_counter() - start:.0f} s)"
        print(f"{verdict} {name} {took}{f': {note}' if note else ''}", flush=True)
    passed = len(names) - failed - skipped
    print(f"{passed} checks passed, {failed} failed, {skipped} skipped")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options and run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small models, two rounds")
    parser.add_argument(
        "--models", default="deep,resnet18,gpt2", help=f"of {', '.join(names_of_models())}"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CHECKS, help="these checks, and no table")
    parser.add_argument("--captured", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    until = time.perf_counter() + 60 * MINUTES
    if options.quick:
        options.rounds = min(options.rounds, 2)
    machine = Machine(torch.device(options.device))
    if machine.is_cuda and not torch.cuda.is_available():
        print("There is no CUDA device here: nothing was checked (--device cpu runs a part of it).")
        return 0
    if machine.is_cuda and machine.device.index is None:
        machine = Machine(torch.device("cuda", torch.cuda.current_device()))
    if options.captured:
        captured(machine)
        return 0
    failed = run_checks(machine, options.only or list(CHECKS))
    if not options.only:
        print_costs(machine, options, until)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
