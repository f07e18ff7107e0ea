"""Where large payloads are kept, when they are not in the log: anything with `put` and `get`, and one for folders and
object stores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from .errors import PayloadStoreError


class PayloadStore(Protocol):
    """Keeps bytes under names that follow from them: the same name is always the same bytes. Called from any thread,
    several at once; may block.

    `put` returns when the bytes are durable; if the name is known, it is as new as the call all the same, where old
    ones are removed some day. Both raise whatever they like: it is tried again.
    """

    def put(self, name: str, data: bytes, /) -> None:
        """Keep `data`, durably, under `name`: the SHA-256 of it in hex. Raises whatever it likes."""
        ...

    def get(self, name: str, /) -> bytes:
        """What was put under `name`. Raises whatever it likes, also where there is nothing."""
        ...


class ObjectPayloadStore:
    """Payloads in a folder, or an object store: `s3://bucket/prefix`, `gs://...`, `az://...`, `file:///folder`.

    A folder has to be one that all clients and workers share. `options` go to the store of the library obstore for that
    address; credentials come from the environment, as its provider's tools have them. Needs
    `pip install 'odradek[checkpoints]'`. Raises PayloadStoreError for an address that is none.
    """

    def __init__(self, address: str | Path, /, **options: Any) -> None:
        try:
            import obstore
            from obstore.store import LocalStore, from_url
        except ImportError as error:
            raise ImportError("ObjectPayloadStore needs obstore: pip install 'odradek[checkpoints]'") from error
        self._obstore: Any = obstore
        given = str(address)
        try:
            if "://" in given and not given.startswith("file:"):
                self._store: Any = from_url(given, **options)
            else:
                folder = Path(given.removeprefix("file://").removeprefix("file:")).absolute()
                self._store = LocalStore(folder, mkdir=True, **options)
        except (OSError, ValueError, TypeError, obstore.exceptions.BaseError) as error:
            raise PayloadStoreError(
                f"no payloads can be kept at {given!r}: {error}. Give a folder, or s3://bucket/prefix"
            ) from error

    def put(self, name: str, data: bytes, /) -> None:
        """Write an object; one that is there is written again. Raises OSError."""
        with self._briefly():
            self._obstore.put(self._store, f"{name[:2]}/{name}", data)

    def get(self, name: str, /) -> bytes:
        """Read an object. Raises FileNotFoundError, or another OSError."""
        with self._briefly():
            return bytes(self._obstore.get(self._store, f"{name[:2]}/{name}").bytes())

    @contextlib.contextmanager
    def _briefly(self) -> Iterator[None]:
        """obstore's errors without the many lines of their insides."""
        try:
            yield
        except (OSError, self._obstore.exceptions.BaseError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
            raise kind(" ".join(str(error).partition("\n\nDebug source")[0].split())) from error
