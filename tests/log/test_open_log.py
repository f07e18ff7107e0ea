"""Addresses of logs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from odradek_log import TopicSpec, open_log
from odradek_log.embedded import EmbeddedLog
from odradek_log.kafka import KafkaLog


def test_file_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for target, folder in (
        ("file:./a b", "a b"),
        ("file:c/d", "c/d"),
        (f"file:{tmp_path}/e", "e"),
        (f"file://{tmp_path}/f%20g", "f g"),
        (f"file://localhost{tmp_path}/h", "h"),
    ):
        log = open_log(target, fsync=False)
        assert isinstance(log, EmbeddedLog)
        assert log.folder == tmp_path / folder
        log.create_topics([TopicSpec("t", 1)])
        log.close()
        assert (tmp_path / folder / "topics.json").exists()


def test_kafka_addresses() -> None:
    log = open_log("kafka://127.0.0.1:9,127.0.0.1:10", max_record_bytes=5)
    assert isinstance(log, KafkaLog)
    assert log.max_record_bytes == 5
    log.close()


@pytest.mark.parametrize(
    "target", ["", "memory:", "localhost:9092", "./folder", "http://host", "kafka:host", "file:", "file://host/folder"]
)
def test_other_addresses_are_refused_with_the_right_forms(target: str) -> None:
    with pytest.raises(ValueError, match=r"file:\./folder"):
        open_log(target)


def test_confluent_kafka_is_imported_for_kafka_only() -> None:
    code = (
        "import sys, tempfile, odradek_log, odradek_log.embedded, odradek_log.simulated\n"
        "odradek_log.open_log('file:' + tempfile.mkdtemp()).close()\n"
        "assert 'confluent_kafka' not in sys.modules\n"
        "odradek_log.open_log('kafka://127.0.0.1:9').close()\n"
        "assert 'confluent_kafka' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
