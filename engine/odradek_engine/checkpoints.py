"""Checkpoints: copies of partitions' states outside of the machine, from which another machine begins.

A checkpoint is a manifest and the files of a RocksDB checkpoint: small ones in the manifest, the others under their
SHA-256, so that what did not change since the last one is stored once. The manifest is written last. Where they are
kept is a folder or an object store, by the library obstore.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

FORMAT = 1
SMALL_BYTES = 65_536
"""Files up to this size are in the manifest."""
SWEPT_AFTER = timedelta(days=1)
"""A file that no manifest names may be of a checkpoint that is being written, but not for that long."""


class CheckpointError(Exception):
    """A checkpoint cannot be read, written or used; the message says which, and what to do."""


class CheckpointFile(msgspec.Struct, frozen=True):
    """A file of a RocksDB checkpoint. `content`: None if it is stored by itself, under its hash."""

    name: str
    size: int
    sha256: str
    content: bytes | None = None


class Checkpoint(msgspec.Struct, frozen=True):
    """The state of a partition before the record at offset `position`, folded by version `version` of the fold."""

    format: int
    namespace: str
    partition: int
    position: int
    version: int
    made_at_ms: int
    files: list[CheckpointFile]

    def __str__(self) -> str:
        return f"checkpoint {self.position} of partition {self.partition}"

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


_ADVICE = (
    ". Check the address, and that the store answers and lets us in. Its credentials come from the environment, such "
    "as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and AWS_ENDPOINT_URL for one that is not Amazon's"
)


class Entry(NamedTuple):
    """Where a manifest is, by what its name says."""

    path: str
    partition: int
    position: int


class CheckpointStore:
    """The checkpoints at `address`: a folder, `file:///folder`, `s3://bucket/prefix`, `gs://...`, `az://...`.

    `options` go to the store of obstore for that address; credentials come from the environment as its providers'
    tools have them (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL ...). Raises CheckpointError for an address that is none, or if
    obstore is not installed.
    """

    def __init__(self, address: str, **options: Any) -> None:
        self.address = address
        try:
            import obstore
            from obstore.store import LocalStore, from_url
        except ImportError as error:
            raise CheckpointError("checkpoints need obstore: pip install 'odradek[checkpoints]'") from error
        self._obstore = obstore
        try:
            if "://" in address:
                if address.startswith("file://"):
                    Path(address.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
                self._store: Any = from_url(address, **options)
            else:
                self._store = LocalStore(Path(address.removeprefix("file:")).absolute(), mkdir=True, **options)
        except (OSError, ValueError, TypeError, obstore.exceptions.BaseError) as error:
            raise CheckpointError(
                f"no checkpoints can be kept at {address!r}: {error}. Give a folder, or s3://bucket/prefix"
            ) from error

    # ------------------------------------------------------------ what there is

    def entries(self, namespace: str, partition: int | None = None) -> list[Entry]:
        """The checkpoints of a namespace, or of one partition of it; the newest of each partition first."""
        prefix = _manifests(namespace) if partition is None else f"{_manifests(namespace)}/{partition}"
        with self._told(f"list the checkpoints of {namespace!r}"):
            found = [meta["path"] for page in self._obstore.list(self._store, prefix) for meta in page]
        entries = []
        for path in found:
            *_, number, name = path.split("/")
            position = name.removesuffix(".json")
            if number.isdecimal() and position.isdecimal():
                entries.append(Entry(path, int(number), int(position)))
        return sorted(entries, key=lambda entry: (entry.partition, -entry.position))

    def read(self, entry: Entry) -> Checkpoint:
        """The manifest of a checkpoint. Raises CheckpointError if it is damaged, or of a newer format."""
        with self._told(f"read {entry.path}"):
            data = bytes(self._obstore.get(self._store, entry.path).bytes())
        try:
            checkpoint = msgspec.json.decode(data, type=Checkpoint)
        except msgspec.DecodeError as error:
            raise CheckpointError(f"checkpoint {entry.path} is damaged: {error}") from error
        if checkpoint.format > FORMAT:
            raise CheckpointError(f"checkpoint {entry.path} has format {checkpoint.format}, we read {FORMAT}: upgrade")
        if (checkpoint.partition, checkpoint.position) != (entry.partition, entry.position):
            raise CheckpointError(f"checkpoint {entry.path} says that it is another one: it is damaged")
        return checkpoint

    # ------------------------------------------------------------ writing

    def save(
        self, folder: Path, namespace: str, partition: int, position: int, version: int, afresh: bool = False
    ) -> Checkpoint:
        """Store the RocksDB checkpoint in `folder`. `afresh`: also those of its files that seem to be there already."""
        paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
        files = [self._save_file(path, namespace, partition, afresh) for path in paths]
        made_at_ms = round(datetime.now(UTC).timestamp() * 1000)
        checkpoint = Checkpoint(FORMAT, namespace, partition, position, version, made_at_ms, files)
        path = f"{_manifests(namespace)}/{partition}/{position:020d}.json"
        with self._told(f"write {path}"):
            self._obstore.put(self._store, path, msgspec.json.encode(checkpoint))
        return checkpoint

    def _save_file(self, path: Path, namespace: str, partition: int, afresh: bool) -> CheckpointFile:
        size = path.stat().st_size
        if size <= SMALL_BYTES:
            content = path.read_bytes()
            return CheckpointFile(path.name, size, hashlib.sha256(content).hexdigest(), content)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        target = f"{_files(namespace, partition)}/{digest}"
        with self._told(f"write {target}"):
            if afresh or not self._has(target, size):
                self._obstore.put(self._store, target, path)
        return CheckpointFile(path.name, size, digest)

    def _has(self, path: str, size: int) -> bool:
        try:
            return bool(self._obstore.head(self._store, path)["size"] == size)
        except FileNotFoundError:
            return False

    def prune(self, namespace: str, partition: int, keep: int) -> int:
        """Remove all but the newest `keep` checkpoints of a partition, and the files that none needs any more; return
        how many are left.

        Damaged manifests stay where they are, for people to look at, and are not counted.
        """
        readable = []
        for entry in self.entries(namespace, partition):
            with contextlib.suppress(CheckpointError):
                readable.append((entry, self.read(entry)))
        needed = {f"{_files(namespace, partition)}/{f.sha256}" for _, one in readable[:keep] for f in one.files}
        before = datetime.now(UTC) - SWEPT_AFTER
        with self._told("remove old checkpoints"):
            for entry, _ in readable[keep:]:
                self._obstore.delete(self._store, entry.path)
            for page in self._obstore.list(self._store, _files(namespace, partition)):
                for meta in page:
                    if meta["path"] not in needed and meta["last_modified"] < before:
                        self._obstore.delete(self._store, meta["path"])
        return len(readable[:keep])

    # ------------------------------------------------------------ reading back

    def fetch(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Put the files of a checkpoint into a new folder. Raises CheckpointError if any is not what it was."""
        folder.mkdir(parents=True)
        for file in checkpoint.files:
            if Path(file.name).name != file.name:
                raise CheckpointError(f"a checkpoint names the file {file.name!r}: it is damaged")
            with (folder / file.name).open("wb") as target:
                for part in self._parts(checkpoint, file):
                    target.write(part)
                target.flush()
                os.fsync(target.fileno())

    def _parts(self, checkpoint: Checkpoint, file: CheckpointFile) -> Iterator[bytes]:
        """The bytes of a file; after the last one it is known whether they are the right ones."""
        digest, size = hashlib.sha256(), 0
        for part in self._stream(checkpoint, file):
            digest.update(part)
            size += len(part)
            yield part
        if size != file.size or digest.hexdigest() != file.sha256:
            raise CheckpointError(f"{checkpoint}: the file {file.name} is damaged")

    def _stream(self, checkpoint: Checkpoint, file: CheckpointFile) -> Iterator[bytes]:
        if file.content is not None:
            yield file.content
            return
        path = f"{_files(checkpoint.namespace, checkpoint.partition)}/{file.sha256}"
        with self._told(f"read {path}"):
            for part in self._obstore.get(self._store, path).stream():
                yield bytes(part)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Say of the store's errors what was to be done, and where."""
        try:
            yield
        except (OSError, self._obstore.exceptions.BaseError) as error:
            words = " ".join(str(error).partition("\n\nDebug source")[0].split())
            advice = _ADVICE if "://" in self.address and not self.address.startswith("file:") else ""
            raise CheckpointError(f"cannot {what} at {self.address}: {words}{advice}") from error


def _manifests(namespace: str) -> str:
    return f"{namespace}/checkpoints"


def _files(namespace: str, partition: int) -> str:
    return f"{namespace}/files/{partition}"
