"""Writes golden logs of the fold version that this code has: `python -m tests.golden.write`.

Run it when a fold version is released, once; what is there then stays for ever. Until the release of the first one
(`RELEASED` in test_golden.py), run it again whenever the fold changes what it does.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec
from odradek_engine.fold import VERSION

from ..engine.streams import random_log
from .by_hand import made_by_hand
from .golden import DIGESTS, LOGS, Entry, GoldenLog, digest, write_log
from .test_golden import RELEASED
from .workload import record_logs

SEEDS, RECORDS = (1, 5, 7), 600


def main() -> None:
    folder = LOGS / f"v{VERSION}"
    if VERSION <= RELEASED:
        sys.exit(f"fold version {VERSION} is released: its logs stay. A change of behaviour needs a new version")
    shutil.rmtree(folder, ignore_errors=True)
    logs = {f"random-{seed}": GoldenLog(0, [Entry(*one) for one in random_log(seed, RECORDS)]) for seed in SEEDS}
    logs["by-hand"] = made_by_hand()
    with tempfile.TemporaryDirectory() as scratch:
        logs |= asyncio.run(record_logs(Path(scratch)))
    for name, log in logs.items():
        write_log(folder / f"{name}.log", log)
    digests = {name: digest(log) for name, log in sorted(logs.items())}
    (folder / DIGESTS).write_bytes(msgspec.json.format(msgspec.json.encode(digests)) + b"\n")
    print(f"wrote {len(logs)} logs with {sum(len(log.entries) for log in logs.values())} records to {folder}")


if __name__ == "__main__":
    main()
