"""How fast a log is folded again: writes one of many events, then rebuilds the state from it, as `odradek log rebuild`.

    python bench/rebuild.py [--events 1000000] [--log embedded|kafka] [--partitions 4] [--json FILE]

An *event* is one of a workflow's history; a *record* is one of the topic `events`, which often makes several (see
`histories.py` for what the workflows do). It is rebuilt twice: by one process, whose CPU seconds are those a core, and
by as many processes as the command takes by itself.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import histories
import psutil
from odradek.cli.long_running import collect_seldom
from odradek_engine import maintenance
from odradek_log import open_log

HERE = Path(__file__).resolve().parent
NAMESPACE = "rebuild"


@contextmanager
def log_of(kind: str, folder: Path) -> Iterator[str]:
    """The address of an empty log."""
    if kind == "embedded":
        yield f"file:{folder}/log"
        return
    sys.path.insert(0, str(HERE.parent / "tests" / "kafka"))
    from broker import Broker  # tests/kafka

    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    with ExitStack() as stack:
        broker = None if given else Broker()
        if broker is not None:
            stack.callback(broker.stop)
            broker.start()
        yield f"kafka://{given or broker.bootstrap}"  # type: ignore[union-attr]  # one of the two is there


def size_of(folder: Path) -> int:
    """The bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rebuild(target: str, folder: Path, answer: Connection) -> None:
    """In a process of its own: rebuild, and say what it took."""
    log = open_log(target)
    process = psutil.Process()
    cpu, begun = sum(process.cpu_times()[:2]), time.perf_counter()
    collect_seldom()
    results = list(maintenance.rebuild(log, NAMESPACE, folder, processes=1))
    found: dict[str, Any] = {
        "records": sum(r.records for r in results),
        "events": sum(r.events for r in results),
        "rows": sum(r.rows for r in results),
        "seconds": time.perf_counter() - begun,
        "cpu s": sum(process.cpu_times()[:2]) - cpu,
        "rss MB": process.memory_info().rss / 1e6,
        "state MB": size_of(folder) / 1e6,
    }
    begun = time.perf_counter()
    list(maintenance.rebuild(log, NAMESPACE, folder))
    found["seconds on all cores"] = time.perf_counter() - begun
    log.close()
    answer.send(found)


def measure(target: str, events: int, partitions: int, folder: Path) -> dict[str, Any]:
    log = open_log(target, **({"fsync": False} if target.startswith("file:") else {}))
    begun = time.perf_counter()
    scratch = folder / "scratch"
    made = histories.make(log, NAMESPACE, partitions, events, scratch)
    log.close()
    written = time.perf_counter() - begun
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=rebuild, args=(target, folder / "state", there))
    process.start()
    there.close()
    found: dict[str, Any] = here.recv()
    process.join()
    assert found["events"] == made.events, "the rebuild counts what was made"
    cpu = found["cpu s"]
    return {
        "workflows": made.workflows,
        "seconds to write the log": written,
        **found,
        "events/s a core": made.events / cpu,
        "records/s a core": found["records"] / cpu,
        "us a record": cpu / found["records"] * 1e6,
        "events/s on all cores": made.events / found["seconds on all cores"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--log", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, log_of(arguments.log, Path(scratch)) as target:
        found = measure(target, arguments.events, arguments.partitions, Path(scratch))
    for name, value in found.items():
        print(f"{name:>26}  {value:,.1f}" if isinstance(value, float) else f"{name:>26}  {value:,}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
