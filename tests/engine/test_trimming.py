"""Trimming the log behind checkpoints: what folds from the beginning begins from a checkpoint then, or says why not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from odradek_engine import CheckpointError, CheckpointSettings, CheckpointStore, StoreError
from odradek_engine.checkpointing import Checkpointing
from odradek_engine.checkpoints import Checkpoint
from odradek_engine.fold import State
from odradek_engine.maintenance import Trimmed, make_checkpoints, open_stores, rebuild, trim, verify
from odradek_engine.restoring import CheckpointedStates
from odradek_log import TopicPartition
from odradek_log.embedded import EmbeddedLog

from .solo import ManualClock
from .test_engine_embedded import TOPICS, Place

NAMESPACE = "test"
PARTITIONS = (0, 1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place whose log has small files, so that some can go."""
    place = Place(tmp_path)
    place.log.close()
    place.log = EmbeddedLog(tmp_path / "log", fsync=False, segment_bytes=4_000)
    yield place
    place.stop()
    place.log.close()


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(str(tmp_path / "kept"))


def work(place: Place, count: int, first: int = 0, **settings: CheckpointSettings) -> None:
    place.start(count, first)
    place.boot(**settings)
    place.settle()
    place.stop()


def firsts(place: Place) -> list[int]:
    return [place.log.offsets(TopicPartition(TOPICS.events, p))[0] for p in PARTITIONS]


def trimmed(place: Place, store: CheckpointStore) -> list[dict[bytes, bytes]]:
    """A log that has lost its beginning, with a tail after its checkpoints; what it folds to."""
    work(place, 60)
    assert all(one is not None for _, one in make_checkpoints(place.log, NAMESPACE, store))
    work(place, 10, first=60)
    ends = [place.log.offsets(TopicPartition(TOPICS.events, p))[1] for p in PARTITIONS]
    states = [place.golden(p, end) for p, end in zip(PARTITIONS, ends, strict=True)]
    trim(place.log, NAMESPACE, store, with_history=True)
    assert all(first > 0 for first in firsts(place))
    return states


def test_only_what_the_oldest_checkpoint_covers_is_deleted(place: Place, store: CheckpointStore) -> None:
    """Breaks when a checkpoint that is kept has lost its tail, or history goes unasked."""
    work(place, 60)
    work(place, 60, first=60)  # behind the history of the first ones, however the files are cut
    oldest = {p: one.position for p, one in make_checkpoints(place.log, NAMESPACE, store) if one is not None}
    work(place, 60, first=120)
    assert all(one is not None for _, one in make_checkpoints(place.log, NAMESPACE, store))
    kept = trim(place.log, NAMESPACE, store)
    assert [(t.partition, t.checkpoint) for t in kept] == sorted(oldest.items())
    before = firsts(place)
    gone = trim(place.log, NAMESPACE, store, with_history=True)
    after = firsts(place)
    assert gone == [Trimmed(p, before[p], after[p], oldest[p]) for p in PARTITIONS]
    assert all(before[p] < after[p] <= oldest[p] for p in PARTITIONS), "what history shares a file with was kept"
    place.log.close()
    place.log = EmbeddedLog(place.folder / "log", fsync=False, segment_bytes=4_000)
    assert firsts(place) == after


def test_a_log_is_not_trimmed_without_a_good_checkpoint_of_each_partition(
    place: Place, store: CheckpointStore, tmp_path: Path
) -> None:
    """Breaks when records go that nothing else has."""
    work(place, 60)
    with pytest.raises(CheckpointError, match=r"partition 0 .* there is none\. Make one"):
        trim(place.log, NAMESPACE, store, with_history=True)
    list(make_checkpoints(place.log, NAMESPACE, store))
    for path in (tmp_path / "kept" / NAMESPACE / "checkpoints" / "1").iterdir():
        path.write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"partition 1 .* none is good"):
        trim(place.log, NAMESPACE, store, with_history=True)
    assert firsts(place) == [0, 0]


def test_a_new_machine_begins_from_the_checkpoint_of_a_trimmed_log(place: Place, store: CheckpointStore) -> None:
    """Breaks when the state of a trimmed log is not the one of the whole log, byte for byte."""
    trimmed(place, store)
    shutil.rmtree(place.data)
    engine = place.boot(checkpoints=CheckpointSettings(store.address))
    place.until(lambda: engine.leading == [0, 1])
    place.stop()
    checked = list(verify(place.log, NAMESPACE, place.data, checkpoints=store))
    assert [(v.ok, v.begun_at > 0, v.rows > 0) for v in checked] == [(True, True, True)] * 2
    with pytest.raises(StoreError, match="Give the checkpoints"):
        list(verify(place.log, NAMESPACE, place.data))


def test_a_state_that_ends_where_the_log_begins_is_replaced(
    place: Place, store: CheckpointStore, tmp_path: Path
) -> None:
    """Breaks when such a state, which no record tells to be of this log (L3), is gone on with although there is a
    checkpoint."""
    trimmed(place, store)
    states = CheckpointedStates(store, NAMESPACE)
    checkpointing = Checkpointing(CheckpointSettings(store.address), states, tmp_path / "scratch", ManualClock())
    first, end = place.log.offsets(TopicPartition(TOPICS.events, 0))
    assert checkpointing.newer(0, first, first, end).folder is not None
    assert checkpointing.newer(0, first + 1, first, end).folder is None, "its last record is there"


def stored(place: Place) -> list[dict[bytes, bytes]]:
    return [State(store, p).dump() for p, store in open_stores(NAMESPACE, place.data).items()]


def test_a_trimmed_log_is_rebuilt_from_its_checkpoints(place: Place, store: CheckpointStore) -> None:
    """Breaks when it is folded with a gap, or the old state goes before there is a new one."""
    states = trimmed(place, store)
    with pytest.raises(StoreError, match="Give the checkpoints"):
        list(rebuild(place.log, NAMESPACE, place.data))
    assert stored(place) == states, "the old one is still there"
    rebuilt = list(rebuild(place.log, NAMESPACE, place.data, checkpoints=store))
    assert all(one.begun_at > 0 for one in rebuilt)
    assert stored(place) == states
    assert all(v.ok for v in verify(place.log, NAMESPACE, place.data, checkpoints=store))
    assert all(one is not None for _, one in make_checkpoints(place.log, NAMESPACE, store))


def test_an_engine_without_state_and_checkpoints_says_what_to_do(place: Place, store: CheckpointStore) -> None:
    """Breaks when it folds what is left as if it were all."""
    trimmed(place, store)
    shutil.rmtree(place.data)
    engine = place.boot()
    with pytest.raises(StoreError, match="Start the engine with the --checkpoints"):
        place.until(lambda: engine.leading == [0, 1])


def test_an_engine_that_is_too_old_for_the_checkpoints_of_a_trimmed_log_says_so(
    place: Place, store: CheckpointStore
) -> None:
    """Breaks when it is told to look for checkpoints that it was given, in place of newer code (V1)."""
    trimmed(place, store)
    shutil.rmtree(place.data)
    for path in Path(store.address).rglob("checkpoints/*/*.json"):
        newer = msgspec.json.decode(path.read_bytes(), type=Checkpoint)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(newer, version=newer.version + 1)))
    engine = place.boot(checkpoints=CheckpointSettings(store.address))
    with pytest.raises(StoreError, match=r"begins at .* fold version \d+, this code knows up to \d+: upgrade"):
        place.until(lambda: engine.leading == [0, 1])
    place.stop()
    with pytest.raises(StoreError, match=r"begins at .* fold version \d+, this code knows up to \d+: upgrade"):
        list(rebuild(place.log, NAMESPACE, place.data, checkpoints=store))


def test_a_state_of_another_log_is_rebuilt_from_a_checkpoint(place: Place, store: CheckpointStore) -> None:
    """L3: breaks when a discarded state of a trimmed log is looked for at the log's beginning, again and again."""
    trimmed(place, store)
    foreign = Place(place.folder / "foreign")
    work(foreign, 50)
    foreign.log.close()
    shutil.rmtree(place.data)
    shutil.copytree(foreign.data, place.data)
    engine = place.boot(checkpoints=CheckpointSettings(store.address))
    place.until(lambda: engine.leading == [0, 1])
    place.stop()
    assert all(v.ok for v in verify(place.log, NAMESPACE, place.data, checkpoints=store))


def test_an_engine_trims_behind_its_checkpoints_if_it_is_told_to(place: Place, store: CheckpointStore) -> None:
    """Breaks when it does so unasked, or not at all."""
    place.start(80)
    told: list[dict[TopicPartition, int]] = []
    delete = place.log.delete_before

    def noted(offsets: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        told.append(dict(offsets))
        return delete(offsets)

    place.log.delete_before = noted  # type: ignore[method-assign, assignment]
    place.boot(checkpoints=CheckpointSettings(store.address, every=0.0))
    place.settle()
    place.until(lambda: {e.partition for e in store.entries(NAMESPACE)} == {0, 1})
    place.stop()
    assert told == []
    place.start(2, first=80)
    place.boot(checkpoints=CheckpointSettings(store.address, every=0.0, keep=2, trim=True))
    place.until(lambda: {tp.partition for one in told for tp in one} == {0, 1})
    place.stop()
    there = {(e.partition, e.position) for e in store.entries(NAMESPACE)}
    assert all(offset <= min(at for p, at in there if p == tp.partition) for one in told for tp, offset in one.items())


def test_an_engine_trims_only_once_there_are_as_many_checkpoints_as_are_kept(
    place: Place, store: CheckpointStore
) -> None:
    """Breaks when the only checkpoint is all that there is of what it covers: no older one could be taken if it turns
    out to be damaged."""
    told: list[tuple[int, int]] = []
    states = CheckpointedStates(store, NAMESPACE)
    settings = CheckpointSettings(store.address, every=0.0, keep=3, trim=True)
    scratch = place.folder / "scratch"
    checkpointing = Checkpointing(settings, states, scratch, ManualClock(), lambda *trimmed: told.append(trimmed))
    place.start(2)
    engine = place.boot()
    made = []
    for count in range(1, 6):
        place.start(2, first=2 * count)
        place.settle()
        state = place.state(0)
        checkpointing.make([(0, state, engine._stores[0])])
        checkpointing.stop()
        made.append(state.partition.position)
        assert told == [(0, oldest) for oldest in made[:-2]], "one for each that is more than there need be"


@pytest.mark.parametrize("count", [62, 90])
def test_l3_a_state_is_kept_where_there_is_nothing_to_begin_from(
    place: Place, store: CheckpointStore, count: int
) -> None:
    """Breaks when a state that does not fit the log is deleted though nothing can take its place, and when the engine
    then says that its store is closed in place of what is wrong."""
    trimmed(place, store)
    before = stored(place)
    foreign = Place(place.folder / "foreign")
    work(foreign, count)
    foreign.log.close()
    shutil.rmtree(place.data)
    shutil.copytree(foreign.data, place.data)
    kept = stored(place)
    assert kept != before
    for path in Path(store.address).rglob("checkpoints/*/*.json"):
        path.write_bytes(path.read_bytes()[:-20])
    for _ in range(2):  # and so it is again after a restart
        place.boot(checkpoints=CheckpointSettings(store.address))
        with pytest.raises(StoreError, match=r"begins at .* is not of this log.* no checkpoint can be .* is damaged"):
            place.settle()
        place.stop()
        assert stored(place) == kept
