"""Partitions of keys, names of topics, task tokens and idempotency keys."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odradek_schemas import (
    InvalidNameError,
    Topics,
    check_name,
    idempotency_key,
    murmur2,
    parse_task_token,
    partition_of,
    task_token,
)
from odradek_schemas.avro import fingerprint_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
        (b"", 275646681),
    ],
)
def test_murmur2_is_the_java_clients(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


def test_partition_of_masks_the_sign_as_the_java_clients_do() -> None:
    assert partition_of(b"21", 16) == (-973932308 & 0x7FFFFFFF) % 16
    assert partition_of(b"abc", 16) == 479470107 % 16
    assert partition_of(b"abc", 1) == 0


@given(st.binary(max_size=40), st.integers(1, 1000))
def test_partition_of_is_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_fingerprints_are_those_of_the_avro_specification() -> None:
    """From Avro's own schema-tests.txt: numbers, on the wire little endian."""
    assert fingerprint_of("null") == (7195948357588979594).to_bytes(8, "little")
    assert fingerprint_of("int") == (0x7275D51A3F395C8F).to_bytes(8, "little")
    assert fingerprint_of("string") == (0x8F014872634503C7).to_bytes(8, "little")


@pytest.mark.parametrize("name", ["default", "A-b_c.9", "x" * 100])
def test_good_names(name: str) -> None:
    assert check_name("task queue", name) == name


@pytest.mark.parametrize("name", ["", "x" * 101, "a b", "a/b", "ä", "a\n", "a\0", "a:b", "٣"])
def test_bad_names_are_refused_with_what_to_use(name: str) -> None:
    with pytest.raises(InvalidNameError, match=r"task queue .*: use 1 to 100 of the characters"):
        check_name("task queue", name)
    with pytest.raises(InvalidNameError, match="namespace"):
        Topics(name)


def test_topics_of_a_namespace() -> None:
    topics = Topics("shop")
    assert topics.events == "odradek.shop.events"
    assert topics.ephemeral == "odradek.shop.ephemeral"
    assert topics.replies == "odradek.shop.replies"
    assert topics.history == "odradek.shop.history"
    assert topics.dead_letters == "odradek.shop.dead-letters"
    assert topics.workflow_tasks("q.1") == "odradek.shop.workflow-tasks.q.1"
    assert topics.activity_tasks("q.1") == "odradek.shop.activity-tasks.q.1"
    assert len(Topics("n" * 100).workflow_tasks("q" * 100)) <= 249, "Kafka's limit"


def test_a_namespace_cannot_name_a_topic_of_another() -> None:
    with pytest.raises(InvalidNameError, match="instead of the dot"):
        Topics("shop.workflow-tasks")  # its `events` would be the workflow tasks of queue `events` of `shop`


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.integers(0, 2**62))
def test_task_tokens_round_trip(workflow_id: str, run_id: str, scheduled_by: str, seq: int) -> None:
    token = task_token(workflow_id, run_id, scheduled_by, seq)
    assert parse_task_token(token) == (workflow_id, run_id, scheduled_by, seq)
    assert token.isascii()
    assert not set(token) & set(b"+/= \n"), "fit for a URL and a command line as it is"


@given(st.binary(max_size=60))
def test_any_other_token_is_a_value_error(token: bytes) -> None:
    with pytest.raises(ValueError, match="not a task token"):
        parse_task_token(token)


@pytest.mark.parametrize(
    "content",
    ["[]", '["w","r","s"]', '["w","r","s","1"]', '["w","r","s",true]', '["w","r",5,1]', '{"w":1}', "5", "[" * 100_000],
    ids=lambda content: content[:20],
)
def test_tokens_of_other_content_are_refused(content: str) -> None:
    with pytest.raises(ValueError, match="not a task token"):
        parse_task_token(base64.urlsafe_b64encode(content.encode()).rstrip(b"="))


def test_a_token_is_readable_to_other_languages() -> None:
    token = task_token("order-42", "run", "s/1", 3)
    padded = token + b"=" * (-len(token) % 4)
    assert json.loads(base64.urlsafe_b64decode(padded)) == ["order-42", "run", "s/1", 3]


def test_idempotency_keys_differ_in_each_part() -> None:
    keys = {idempotency_key(run, by, seq) for run in ("r1", "r2") for by in ("s/1", "s/2") for seq in (1, 2, 11)}
    assert len(keys) == 12
