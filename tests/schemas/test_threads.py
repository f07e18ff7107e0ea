"""Many threads may read their first record at the same moment.

msgspec gathers what it knows of a class at its first use; a second thread that comes meanwhile crashes the process.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from odradek_schemas import encode
from odradek_schemas.records import WorkflowTaskCompleted

START = b'{"type":"StartWorkflow","workflow_id":"w","workflow_type":"t","task_queue":"q"}'

_START = """
import sys, threading
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
failed = []

def run(read):
    together.wait()
    try:
        read()
    except BaseException as error:
        failed.append(error)

def all_at_once(read):
    threads = [threading.Thread(target=run, args=(read,)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failed, failed
"""

_RECORDS = """
from odradek_schemas import codec

raw = bytes.fromhex({raw!r})
codec.encode(codec.from_json({start!r}))  # the schemas are there: only the class is new
all_at_once(lambda: codec.decode(raw))
"""

_PAYLOADS = """
from dataclasses import dataclass, field
from odradek import DataConverter

@dataclass
class Leaf:
    {fields}

@dataclass
class Tree:
    leaf: Leaf | None = None
    branches: "list[Tree]" = field(default_factory=list)

converter = DataConverter()
payload = converter.to_payload({{"leaf": {{}}, "branches": [{{"branches": [{{"leaf": {{}}}}]}}]}})
all_at_once(lambda: converter.from_payload(payload, Tree))
"""


def _fresh_process(code: str) -> None:
    command = [sys.executable, "-c", _START + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("_", range(3))
def test_first_records_in_many_threads(_: int) -> None:
    completed = WorkflowTaskCompleted(workflow_id="w", run_id="r", id="i", base="b", consumed_through=1)
    _fresh_process(_RECORDS.format(raw=encode(completed).hex(), start=START))


@pytest.mark.parametrize("_", range(3))
def test_first_payloads_in_many_threads(_: int) -> None:
    fields = "\n    ".join(f"n{number}: int = {number}" for number in range(200))
    _fresh_process(_PAYLOADS.format(fields=fields))
