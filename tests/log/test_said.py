"""Lines of librdkafka's log: each once in a while."""

from __future__ import annotations

import logging

from odradek_log.kafka.said import EVERY_S, Seldom

REFUSED = "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused"
UNKNOWN = "Partition odradek.default.ephemeral(D4Lk98hsSNOwFTfrRTegzg)"


def lines(seldom: Seldom, *texts: str) -> list[str]:
    """What is let through of them."""
    found = [logging.LogRecord("odradek.log.kafka", logging.ERROR, "", 0, "%s", (text,), None) for text in texts]
    return [record.getMessage() for record in found if seldom.filter(record)]


def test_the_same_line_comes_once_in_a_while_with_how_many_were_left_out() -> None:
    """Breaks when a broker that is away fills the screen, or is not mentioned any more after the first time."""
    now = [100.0]
    seldom = Seldom(lambda: now[0])
    first = f"FAIL [rdkafka#producer-1] {REFUSED} (after 0ms in state CONNECT)"
    again = f"FAIL [rdkafka#producer-2] {REFUSED} (after 4ms in state CONNECT, 1 identical error(s) suppressed)"
    assert lines(seldom, first, again, first) == [first]
    assert len(lines(seldom, first.replace("9/bootstrap", "10/bootstrap"))) == 1, "another broker"
    now[0] += EVERY_S
    assert lines(seldom, again, again) == [f"{again} (2 more like this since the last one)"]


def test_one_line_stands_for_all_partitions_of_a_topic() -> None:
    seldom = Seldom(lambda: 0.0)
    texts = [f"METADATAUPDATE {UNKNOWN}[{n}]: new leader-1 not found in cache" for n in range(16)]
    assert lines(seldom, *texts) == texts[:1]


def test_settings_of_the_other_kind_of_client_are_no_news() -> None:
    of_consumers = "is a consumer property and will be ignored by this producer instance"
    other = "CONFWARN Configuration property a is deprecated"
    assert lines(Seldom(), f"CONFWARN Configuration property fetch.wait.max.ms {of_consumers}", other) == [other]


def test_memory_is_bounded() -> None:
    seldom = Seldom(lambda: 0.0)
    lines(seldom, *(f"{number} is new" for number in range(2_500)))
    assert len(seldom._said) <= 1_000
