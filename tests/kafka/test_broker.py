"""Which broker the tests get."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..conftest import need_jars


def test_where_the_broker_is_another_s_only_what_needs_one_of_its_own_is_left_out_and_nothing_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("PATH", str(tmp_path))  # neither Java nor Maven
    with pytest.raises(pytest.skip.Exception, match=r"needs Java 17\+ and Maven"):
        need_jars()
    monkeypatch.setenv("CI", "1")
    need_jars()
