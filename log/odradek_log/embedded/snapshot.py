"""A copy of an embedded log's folder that another process has open, to be read while that one goes on.

What is in a folder at any moment is what a crash at that moment would leave, and opening a log repairs that. So a copy
needs nobody's help: closed segments never change and are linked, the last one is copied as far as it is. The folder
itself is not touched. Records that are not on the disk yet may be in a copy.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..protocol import LogCorruptError, LogUnavailableError
from .log import EmbeddedLog

_ATTEMPTS = 5


@contextmanager
def snapshot(folder: str | os.PathLike[str]) -> Iterator[EmbeddedLog]:
    """The log of a folder as it stands, opened from a copy, until the block is left.

    What is appended to it goes nowhere. Raises LogUnavailableError if the folder cannot be read, LogCorruptError if it
    is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="odradek-snapshot-") as scratch:
        log = _opened(Path(folder), Path(scratch))
        try:
            yield log
        finally:
            log.close()


def _opened(folder: Path, scratch: Path) -> EmbeddedLog:
    """Files may be removed, or be half written, at the moment of copying: then another moment is tried."""
    if not (folder / "topics.json").exists():
        raise LogUnavailableError(f"there is no log in the folder {folder}: check the path")
    for attempt in range(1, _ATTEMPTS + 1):
        copy = scratch / str(attempt)
        try:
            _copy(folder, copy)
            return EmbeddedLog(copy, fsync=False)
        except (FileNotFoundError, LogCorruptError) as error:
            if attempt == _ATTEMPTS:
                if isinstance(error, LogCorruptError):
                    raise
                raise LogUnavailableError(f"cannot copy the log in {folder}: {error}") from error
        except OSError as error:
            raise LogUnavailableError(f"cannot copy the log in {folder}: {error}") from error
    raise AssertionError("the last attempt returns or raises")


def _copy(folder: Path, copy: Path) -> None:
    """In this order: what is gone by expiry is known before the segments are, topics are there before their records."""
    for name in ("durable", "other"):
        (copy / name).mkdir(parents=True)
        if (folder / name / "expired.json").exists():
            shutil.copyfile(folder / name / "expired.json", copy / name / "expired.json")
        segments = sorted((folder / name).glob("*.log"))
        for path in segments[:-1]:
            _link(path, copy / name / path.name)
            if path.with_suffix(".idx").exists():
                _link(path.with_suffix(".idx"), copy / name / f"{path.stem}.idx")
        if segments:
            shutil.copyfile(segments[-1], copy / name / segments[-1].name)
    for file in ("groups.json", "topics.json"):
        if (folder / file).exists():
            shutil.copyfile(folder / file, copy / file)


def _link(path: Path, to: Path) -> None:
    """The same file under another name; across file systems, a reference to it."""
    try:
        os.link(path, to)
    except FileNotFoundError:
        raise
    except OSError:
        to.symlink_to(path.absolute())
