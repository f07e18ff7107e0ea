"""`python -m tests.fuzz [--seconds 60] [--target NAME] [--data HEX]`: look for bytes that raise; see targets.py.

With atheris, if it is installed, which follows what the code does with the bytes; else with random ones. What was
found is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time

from .targets import TARGETS, quiet


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--here", action="store_true", help="in this process")
    parser.add_argument("--data", help="hexadecimal: only these bytes")
    options = parser.parse_args()
    quiet()
    names = options.target or list(TARGETS)
    if options.here:
        _fuzz(names[0], options.seconds)
        return 0
    if options.data is not None:
        for name in names:
            TARGETS[name](bytes.fromhex(options.data))
        return 0
    failed = [name for name in names if _in_a_process(name, options.seconds)]
    print(f"failed: {', '.join(failed)}" if failed else f"{', '.join(names)}: nothing found", flush=True)
    return 1 if failed else 0


def _in_a_process(name: str, seconds: float) -> bool:
    """atheris ends the process that it runs in."""
    command = [sys.executable, "-m", "tests.fuzz", "--here", "--target", name, "--seconds", str(seconds)]
    return subprocess.run(command).returncode != 0


def _fuzz(name: str, seconds: float) -> None:
    quiet()

    def target(data: bytes) -> None:
        try:
            TARGETS[name](data)
        except Exception:
            print(f"FOUND. Repeat it: python -m tests.fuzz --target {name} --data {data.hex() or '00'}", flush=True)
            raise

    try:
        import atheris  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        _random(name, target, seconds)
        return
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds:.0f}", "-max_len=2000", "-verbosity=0"], target)
    atheris.Fuzz()


def _random(name: str, target: object, seconds: float) -> None:
    assert callable(target)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        target(random.randbytes(random.randrange(2_000)))
        count += 1
    print(f"{name}: {count:,} inputs, at random, as atheris is not installed", flush=True)


if __name__ == "__main__":
    sys.exit(main())
