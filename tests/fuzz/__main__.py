"""`python -m tests.fuzz [--seconds 60] [--target NAME] [--data HEX]`: look for bytes that raise; see targets.py.

With atheris, if it is installed, which follows what the code does with the bytes; else with random ones. What was
found is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import importlib
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

NAMES = ("codec", "json", "processor", "worker", "client", "answers")
OURS = ["odradek", "odradek_schemas", "odradek_engine", "odradek_log"]

Target = Callable[[bytes], None]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--target", choices=NAMES, action="append")
    parser.add_argument("--here", action="store_true", help="in this process")
    parser.add_argument("--data", help="hexadecimal: only these bytes")
    options = parser.parse_args()
    names = options.target or list(NAMES)
    if options.data is not None:
        for name in names:
            _target(name)(bytes.fromhex(options.data))
    elif options.here:
        _fuzz(names[0], options.seconds)
    else:
        failed = [name for name in names if _in_a_process(name, options.seconds)]
        print(f"failed: {', '.join(failed)}" if failed else f"{', '.join(names)}: nothing found", flush=True)
        return 1 if failed else 0
    return 0


def _in_a_process(name: str, seconds: float) -> bool:
    """atheris ends the process that it runs in."""
    command = [sys.executable, "-m", "tests.fuzz", "--here", "--target", name, "--seconds", str(seconds)]
    return subprocess.run(command).returncode != 0


def _target(name: str) -> Target:
    targets: Any = importlib.import_module("tests.fuzz.targets")
    targets.quiet()
    found: Target = targets.TARGETS[name]
    return found


def _fuzz(name: str, seconds: float) -> None:
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        _at_random(name, _told(name, _target(name)), seconds)
        return
    with atheris.instrument_imports(include=OURS):
        target = _target(name)
    options = [f"-max_total_time={seconds:.0f}", "-max_len=2000", "-len_control=0"]
    atheris.Setup([sys.argv[0], *options], _told(name, target))
    atheris.Fuzz()


def _told(name: str, target: Target) -> Target:
    """The target; what raises is printed."""

    def told(data: bytes) -> None:
        try:
            target(data)
        except Exception:
            print(f"FOUND. Repeat it: python -m tests.fuzz --target {name} --data {data.hex() or '00'}", flush=True)
            raise

    return told


def _at_random(name: str, target: Target, seconds: float) -> None:
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        target(random.randbytes(random.randrange(2_000)))
        count += 1
    print(f"{name}: {count:,} inputs, at random, as atheris is not installed", flush=True)


if __name__ == "__main__":
    sys.exit(main())
