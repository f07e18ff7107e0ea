"""Engine and worker as processes on a real Apache Kafka, used and looked after by commands."""

from __future__ import annotations

import json
import secrets
import signal
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from .running import ROOT, SECONDS, odradek_here, running, until


def _end_with_a_transaction(bootstrap: str, topic: str) -> None:
    """Of somebody else, in each partition: it leaves offsets that hold no record."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    for partition in range(4):
        producer.produce(topic, b"from abroad", partition=partition)
    assert producer.flush(SECONDS) == 0
    producer.abort_transaction(SECONDS)


POKE = '{"id": 1, "name": "Poke", "cents": 1299}'


@pytest.mark.timeout(300)
def test_engine_worker_and_commands_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    log = f"kafka://{kafka_bootstrap}"
    env = {"ODRADEK_ADDRESS": log, "ODRADEK_NAMESPACE": f"cli-{secrets.token_hex(4)}", "ODRADEK_TASK_QUEUE": "orders"}
    state = str(tmp_path / "state")

    def command(*arguments: str) -> str:
        done = odradek_here(*arguments, env=env)
        assert done.code == 0, done.err
        return done.out

    with (
        running("engine", "--data", state, "--partitions", "4", env=env) as engine,
        running("worker", "examples.food_order", "--max-history", "64", cwd=ROOT, env=env) as worker,
    ):
        engine.wait_for("Engine running")
        second = odradek_here("engine", "--data", state, env=env)
        assert (second.code, f"process {engine.pid} keeps its state in {state}" in second.err) == (4, True)
        worker.wait_for("Worker running.* task queue orders: Order, charge, notify, refund")
        command("workflow", "start", "Order", "--id", "o", "--input", POKE, "--input", '{"rating_after": 0.1}')
        worker.wait_for("charged")
        until(lambda: json.loads(command("workflow", "query", "o", "status")) == "paid", "the order is paid")
        for message in ("picked_up", "delivered"):
            command("workflow", "signal", "o", message)
        assert json.loads(command("workflow", "result", "o")).startswith("ch_")
        assert "WorkflowCompleted" in command("workflow", "show", "o")
        for process in (worker, engine):
            process.send(signal.SIGTERM)
            assert process.wait() == 0
    uncounted = odradek_here("stats", log, env=env)
    assert (uncounted.code, "odradek stats --keep" in uncounted.err) == (4, True)
    with running("stats", log, "--keep", "--data", str(tmp_path / "stats"), env=env) as counting:
        counting.wait_for("Counting")
        give_up = time.monotonic() + SECONDS
        while True:  # the table follows the topic: until it has caught up, it says how far it is behind
            done = odradek_here("stats", log, "--json", env=env)
            if done.code == 0 and done.json["behind"] == 0:
                break
            assert time.monotonic() < give_up, done
        assert done.json["types"]["Order"]["completed"] == 1
    _end_with_a_transaction(kafka_bootstrap, f"odradek.{env['ODRADEK_NAMESPACE']}.events")
    verified = json.loads(command("log", "verify", log, "--data-dir", state, "--json"))
    assert verified["ok"] is True
    assert len(verified["partitions"]) == 4
    records = [json.loads(line) for line in command("log", "dump", log, "--json").splitlines()]
    sent = [r["record"] for r in records if r["record"]["type"] == "SignalWorkflow"]
    signals = {record["request"]["request_id"]: record["signal"] for record in sent}  # a slow answer is asked for again
    assert [*signals.values()] == ["picked_up", "delivered"]
    assert json.loads(command("log", "rebuild", log, "--data-dir", state, "--json"))["records"] == len(records)
    kept = str(tmp_path / "kept")
    assert len(json.loads(command("checkpoint", "create", log, "--store", kept, "--json"))) == 4
    trimmed = json.loads(command("log", "trim", log, "--checkpoints", kept, "--json"))
    assert sum(partition["first"] for partition in trimmed) == len(records), "brokers delete to the record"
    assert odradek_here("log", "verify", log, "--data-dir", state, env=env).code == 4
    done = command("log", "verify", log, "--data-dir", state, "--checkpoints", kept)
    assert "from checkpoints, as the log was trimmed" in done
