"""Checkpoints: made by engines and offline, kept in a folder and on S3's protocol, and begun from if they are good."""

from __future__ import annotations

import logging
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import obstore
import pytest
from moto.server import ThreadedMotoServer
from odradek_engine import CheckpointError, CheckpointSettings, CheckpointStore
from odradek_engine import checkpoints as checkpoints_module
from odradek_engine.folding import Folded as Progress
from odradek_engine.maintenance import make_checkpoints
from odradek_engine.restoring import CheckpointedStates

from .test_engine_embedded import Place, place

__all__ = ["place"]

NAMESPACE = "test"


@pytest.fixture(autouse=True)
def _files_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the small states of tests have files that are stored by themselves."""
    monkeypatch.setattr(checkpoints_module, "SMALL_BYTES", 500)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "kept")
    for name, value in {
        "AWS_ENDPOINT_URL": request.getfixturevalue("s3_server"), "AWS_ACCESS_KEY_ID": "us", "AWS_REGION": "us-east-1",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ALLOW_HTTP": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    bucket = f"kept-{abs(hash(tmp_path)):x}"
    # A bucket is made by a PUT of its name, which obstore leaves to other tools.
    endpoint = request.getfixturevalue("s3_server")
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")).close()
    return f"s3://{bucket}/odradek"


def run_with_checkpoints(place: Place, address: str, count: int, first: int = 0) -> None:
    """An engine that makes a checkpoint of both partitions after it has started workflows."""
    place.start(count, first)
    engine = place.boot(checkpoints=CheckpointSettings(address, every=0.0, keep=100))
    store = CheckpointStore(address)
    place.settle()

    def saved() -> bool:
        entries = {e.partition: e.position for e in reversed(store.entries(NAMESPACE))}
        return all(entries.get(p) == place.state(p).partition.position for p in (0, 1))

    place.until(saved)
    assert engine.leading == [0, 1]
    place.stop()


def begun_at(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [int(r.getMessage().rsplit(" ", 1)[1]) for r in caplog.records if "begins from" in r.getMessage()]


def boot_elsewhere(place: Place, address: str) -> None:
    """A new machine: no state; then its state is that of the whole log."""
    place.data = place.folder / "another"
    shutil.rmtree(place.data, ignore_errors=True)
    place.boot(checkpoints=CheckpointSettings(address))
    place.settle()
    for p in (0, 1):
        state = place.state(p)
        assert state.dump() == place.golden(p, state.partition.position)
    place.stop()


def test_a_new_machine_begins_from_the_newest_checkpoint(
    place: Place, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="odradek_engine")
    run_with_checkpoints(place, address, 40)
    run_with_checkpoints(place, address, 40, first=40)
    newest = [entry.position for p in (0, 1) for entry in CheckpointStore(address).entries(NAMESPACE, p)[:1]]
    place.start(10, first=80)  # the tail
    boot_elsewhere(place, address)
    assert sorted(begun_at(caplog)) == sorted(newest)


def _damage(store: CheckpointStore, path: str, change: Callable[[bytes], bytes]) -> None:
    data = bytes(obstore.get(store._store, path).bytes())
    obstore.put(store._store, path, change(data))


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("what", ["manifest cut", "manifest of another", "file flipped", "file gone", "newer version"])
def test_a_damaged_checkpoint_is_refused_and_the_older_one_taken(
    place: Place, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="odradek_engine")
    address = str(tmp_path / "kept")
    run_with_checkpoints(place, address, 40)
    older = {e.position for p in (0, 1) for e in CheckpointStore(address).entries(NAMESPACE, p)[:1]}
    run_with_checkpoints(place, address, 40, first=40)
    store = CheckpointStore(address)
    damaged: set[str] = set()
    for partition in (0, 1):
        entries = store.entries(NAMESPACE, partition)
        good = next(store.read(entry) for entry in entries if entry.position in older)
        for entry in entries[: [e.position for e in entries].index(good.position)]:
            checkpoint = store.read(entry)
            own = {f.sha256 for f in checkpoint.files if f.content is None} - {f.sha256 for f in good.files}
            assert own
            if what == "manifest cut":
                _damage(store, entry.path, lambda data: data[:-100])
            elif what == "manifest of another":
                _damage(store, entry.path, lambda data, c=checkpoint: msgspec.json.encode(
                    msgspec.structs.replace(c, position=c.position - 1)))
            elif what == "newer version":
                _damage(store, entry.path, lambda data, c=checkpoint: msgspec.json.encode(
                    msgspec.structs.replace(c, version=c.version + 1)))
            elif what == "file flipped":
                for path in {f"{NAMESPACE}/files/{partition}/{name}" for name in own} - damaged:
                    _damage(store, path, _flip)
                    damaged.add(path)
            else:
                for path in {f"{NAMESPACE}/files/{partition}/{name}" for name in own} - damaged:
                    obstore.delete(store._store, path)
                    damaged.add(path)
    boot_elsewhere(place, address)
    assert all(position in older for position in begun_at(caplog))
    assert len(begun_at(caplog)) == 2
    assert "ALARM" in caplog.text


def test_without_a_good_checkpoint_the_log_is_folded(place: Place, tmp_path: Path) -> None:
    run_with_checkpoints(place, str(tmp_path / "kept"), 20)
    for path in (tmp_path / "kept").rglob("*.json"):
        path.write_bytes(b"{}")
    boot_elsewhere(place, str(tmp_path / "kept"))


def test_a_store_that_is_away_does_not_keep_the_engine_from_its_work(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(obstore, "list", away)
    monkeypatch.setattr(obstore, "put", away)
    place.start(20)
    place.boot(checkpoints=CheckpointSettings(str(place.folder / "kept"), every=0.0))
    place.settle()
    place.until(lambda: "no checkpoint of partition" in caplog.text)
    assert "connection refused" in caplog.text


def test_what_did_not_change_is_stored_once_and_old_checkpoints_go(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "SWEPT_AFTER", checkpoints_module.SWEPT_AFTER * 0)
    address = str(tmp_path / "kept")
    for turn in range(5):
        run_with_checkpoints(place, address, 10, first=10 * turn)
    store = CheckpointStore(address)
    for partition in (0, 1):
        store.prune(NAMESPACE, partition, keep=3)
        entries = store.entries(NAMESPACE, partition)
        assert len(entries) == 3
        needed = {f.sha256 for e in entries for f in store.read(e).files if f.content is None}
        there = {path.name for path in (tmp_path / "kept" / NAMESPACE / "files" / str(partition)).iterdir()}
        assert there == needed
        shared = [{f.sha256 for f in store.read(e).files if f.content is None} for e in entries]
        assert shared[0] & shared[1], "an unchanged file is the same one"
        for entry in entries:
            CheckpointedStates(store, NAMESPACE).check(store.read(entry), tmp_path / "back" / entry.path)


def test_checkpoints_are_made_without_an_engine(place: Place, address: str) -> None:
    place.start(30)
    place.boot()
    place.settle()
    place.stop()
    store = CheckpointStore(address)
    assert {p: one is not None for p, one in make_checkpoints(place.log, NAMESPACE, store)} == {0: True, 1: True}
    assert [one for _, one in make_checkpoints(place.log, NAMESPACE, store)] == [None, None]
    place.start(10, first=30)
    folded: list[Progress] = []
    again = dict(make_checkpoints(place.log, NAMESPACE, store, folded.append))
    assert sum(each.records for each in folded) == 10, "only the tail is folded"
    assert [one.position for one in again.values() if one] == [e.position for e in store.entries(NAMESPACE)][::2]
    boot_elsewhere(place, address)


@pytest.mark.parametrize("what", ["manifest", "file"])
def test_a_damaged_checkpoint_is_made_again_although_nothing_came_since(place: Place, address: str, what: str) -> None:
    """Breaks when the newest one counts by its position: then there is no good one, and none is ever made."""
    place.start(30)
    place.boot()
    place.settle()
    place.stop()
    store = CheckpointStore(address)
    states = CheckpointedStates(store, NAMESPACE)
    list(make_checkpoints(place.log, NAMESPACE, store))
    entry = store.entries(NAMESPACE, 0)[0]
    own = next(f.sha256 for f in store.read(entry).files if f.content is None)
    _damage(store, entry.path if what == "manifest" else f"{NAMESPACE}/files/0/{own}", _flip)
    made = dict(make_checkpoints(place.log, NAMESPACE, store))
    assert [made[p] is not None for p in (0, 1)] == [True, False]
    states.check(store.read(store.entries(NAMESPACE, 0)[0]), place.folder / "back")
    boot_elsewhere(place, address)


def test_files_that_were_found_damaged_are_stored_anew(place: Place, address: str) -> None:
    """Breaks when an engine goes on making checkpoints that share a damaged file, which seems to be there: all of them
    are damaged, and nobody notices before they are needed."""
    place.start(40)
    place.boot()
    place.settle()
    assert place.engine is not None
    place.state(0).flush()
    copy = place.folder / "copy"
    place.engine._stores[0].checkpoint(copy)
    position = place.state(0).partition.position
    store = CheckpointStore(address)
    states = CheckpointedStates(store, NAMESPACE)
    damaged = [file.sha256 for file in states.save(copy, 0, position, 1).files if file.content is None]
    assert damaged
    for name in damaged:
        _damage(store, f"{NAMESPACE}/files/0/{name}", _flip)
    assert states.restore(0, 1, position, place.folder / "scratch").folder is None
    saved = states.save(copy, 0, position, 1)
    assert [file.sha256 for file in saved.files if file.content is None] == damaged, "they are the same ones"
    states.check(store.read(store.entries(NAMESPACE, 0)[0]), place.folder / "back")


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(CheckpointError, match=r"Give a folder, or s3://bucket/prefix"):
        CheckpointStore("nowhere://x")


@pytest.mark.parametrize("address", ["s3"], indirect=True)
def test_a_store_that_refuses_is_told_in_a_line_with_what_to_look_at(address: str) -> None:
    """obstore's errors have twenty lines of its insides."""
    with pytest.raises(CheckpointError, match=r"cannot list .*NoSuchBucket.*Check the address.*AWS_ENDPOINT") as told:
        CheckpointStore("s3://nobody-made-this/odradek").entries(NAMESPACE)
    assert "\n" not in str(told.value)
    assert "Debug" not in str(told.value)
