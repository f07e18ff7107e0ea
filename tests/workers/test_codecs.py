"""Codecs: what comes back, what does not, and what the error then says."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odradek import AESGCMCodec, ApplicationError, CodecError, DataConverter, PayloadCodec, ZlibCodec
from odradek._codecs import _MAX_INFLATED, ChainCodec, packed
from odradek._failures import activity_error
from odradek_schemas.common import Failure, Payload

OLD, NEW = os.urandom(32), os.urandom(16)
CHAIN = [ZlibCodec(min_bytes=10), AESGCMCodec({"new": NEW, "old": OLD})]
payloads = st.builds(Payload, metadata=st.dictionaries(st.text(), st.binary()), data=st.binary(max_size=400))


@given(st.lists(payloads))
@pytest.mark.parametrize("codec", [*CHAIN, ChainCodec(CHAIN)], ids=["zlib", "aes-gcm", "both"])
def test_payloads_come_back_as_they_were(codec: PayloadCodec, values: list[Payload]) -> None:
    values = [p for p in values if p.metadata.get("encoding") not in (b"binary/zlib", b"binary/encrypted")]
    assert codec.decode(codec.encode(values)) == values


@pytest.mark.parametrize("codec", CHAIN, ids=["zlib", "aes-gcm"])
def test_what_was_written_without_the_codec_is_read_as_it_is(codec: PayloadCodec) -> None:
    assert DataConverter(codec=codec).from_payload(DataConverter().to_payload("x" * 300), str) == "x" * 300


def test_zlib_leaves_alone_what_does_not_become_smaller() -> None:
    codec, random = ZlibCodec(min_bytes=10), Payload(metadata={"encoding": b"e"}, data=os.urandom(1000))
    long = Payload(metadata={"encoding": b"e"}, data=b"x" * 1000)
    kept, packed = codec.encode([random, long])
    assert kept is random
    assert len(packed.data) < 50


def test_a_payload_that_inflates_without_end_is_refused() -> None:
    huge = Payload(data=bytes(_MAX_INFLATED + 1))
    assert ZlibCodec().encode([huge]) == [huge], "what could not be read again is not compressed"
    bomb = Payload(metadata={"encoding": b"binary/zlib"}, data=zlib.compress(packed(huge)))
    with pytest.raises(CodecError, match="more than"):
        ZlibCodec().decode([bomb])


def test_the_same_value_is_never_encrypted_alike() -> None:
    converter = DataConverter(codec=AESGCMCodec({"k": NEW}))
    first, second = converter.to_payloads(["secret", "secret"])
    assert first.data != second.data
    assert b"secret" not in first.data
    assert first.metadata == {
        "encoding": b"binary/encrypted",
        "encryption-cipher": b"AES-GCM",
        "encryption-key-id": b"k",
    }


def test_keys_change_in_three_steps() -> None:
    before = DataConverter(codec=AESGCMCodec({"old": OLD}))
    both = DataConverter(codec=AESGCMCodec({"old": OLD, "new": NEW}))
    after = DataConverter(codec=AESGCMCodec({"new": NEW, "old": OLD}))
    assert both.from_payload(after.to_payload(1), int) == 1
    assert after.from_payload(before.to_payload(2), int) == 2
    assert after.to_payload(1).metadata["encryption-key-id"] == b"new"
    with pytest.raises(CodecError, match=r"key 'new', which this codec does not have \(it has old\)"):
        before.from_payload(after.to_payload(1), int)


def test_a_wrong_key_and_a_changed_payload_are_errors_that_say_so() -> None:
    payload = AESGCMCodec({"k": NEW}).encode([Payload(data=b"x")])[0]
    changed = Payload(metadata=payload.metadata, data=payload.data[:-1] + bytes([payload.data[-1] ^ 1]))
    short = Payload(metadata=payload.metadata, data=b"123")
    with pytest.raises(CodecError, match="encrypted with key 'k' cannot be opened"):
        AESGCMCodec({"k": OLD}).decode([payload])
    for broken in (changed, short):
        with pytest.raises(CodecError, match="or the payload was changed"):
            AESGCMCodec({"k": NEW}).decode([broken])
    with pytest.raises(CodecError, match="give client and worker the same DataConverter"):
        DataConverter().from_payload(payload)


@pytest.mark.parametrize(
    ("keys", "message"), [({}, "needs a key"), ({"k": b"short"}, "key 'k' has 5 bytes")], ids=["none", "short"]
)
def test_keys_are_checked(keys: dict[str, bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AESGCMCodec(keys)


class Broken:
    def encode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        raise OSError("the key server is away")

    def decode(self, payloads: Sequence[Payload], /) -> list[Payload]:
        return []


def test_what_a_codec_raises_says_whose_it_is() -> None:
    converter = DataConverter(codec=Broken())
    with pytest.raises(CodecError, match=r"Broken\.encode raised OSError: the key server is away"):
        converter.to_payload(1)
    with pytest.raises(CodecError, match=r"Broken\.decode made 0 payloads of 1"):
        converter.from_payload(Payload(metadata={"encoding": b"json/plain"}, data=b"1"))
    assert "secret" not in repr(converter.to_failure(ValueError("secret"))), "better no message than a plain one"


class LoudError(ApplicationError):
    pass


def failed() -> BaseException:
    try:
        raise LoudError("secret message", "secret detail") from ValueError("secret cause")
    except LoudError as error:
        return error


def test_failures_hide_messages_details_and_stack_traces() -> None:
    converter = DataConverter(codec=CHAIN)
    failure = converter.to_failure(failed())
    assert "secret" not in repr(failure)
    assert "raise LoudError" not in repr(failure)
    assert (failure.type, failure.message) == ("LoudError", "Encoded failure")
    error = converter.from_failure(failure)
    assert isinstance(error, LoudError)
    assert (error.message, error.details) == ("secret message", ("secret detail",))
    assert "raise LoudError" in error.__notes__[0]
    assert repr(error.__cause__) == "ValueError('secret cause')"
    again = activity_error(failure, converter, activity_type="a", attempt=1)
    assert isinstance(again.__cause__, BaseException)
    assert str(again.__cause__).endswith("secret message")


def test_a_failure_of_another_codec_is_an_error_not_another_failure() -> None:
    failure = DataConverter(codec=AESGCMCodec({"k": NEW})).to_failure(failed())
    with pytest.raises(CodecError, match="does not have"):
        activity_error(failure, DataConverter(codec=AESGCMCodec({"other": OLD})), activity_type="a", attempt=1)


def test_a_message_that_only_looks_hidden_stays() -> None:
    failure = Failure(message="Encoded failure")
    assert str(DataConverter(codec=CHAIN).from_failure(failure)) == "Encoded failure"
