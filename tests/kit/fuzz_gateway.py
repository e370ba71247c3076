"""``python -m tests.kit.fuzz_gateway --inputs 1000000 --seed N``: hostile messages to an intake.

Prints the seed first. Ends with code 1, and the message that did it, at the first one that
raises, is miscounted, or needs the guard (``internal_error``).
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import typer

from tests.kit.hostile_messages import HostileIntake, hostile_message


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    typer.echo(f"seed {seed}, {options.inputs} inputs")
    rng, bench, begun = random.Random(seed), HostileIntake(), time.monotonic()
    for number in range(1, options.inputs + 1):
        topic, payload = hostile_message(rng)
        try:
            bench.give(topic, payload)
            bench.check_guard()
        except Exception as error:
            shown = payload if len(payload) < 2_000 else payload[:2_000] + b"..."
            typer.echo(f"input {number}: {type(error).__name__}: {error}\n{topic!r}\n{shown!r}")
            return 1
    bench.settle()
    typer.echo(f"none raised, in {time.monotonic() - begun:.0f} s; {bench.taken} frames and events")
    for reason, count in sorted(bench.reasons.items(), key=lambda item: -item[1]):
        typer.echo(f"  {count:>9} {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
