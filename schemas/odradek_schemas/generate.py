"""Writes the `.avsc` files from the record classes: `python -m odradek_schemas.generate`.

A file whose schema changed is first copied to `avsc/archive/<fingerprint>.avsc`, so that old records still read.
"""

from __future__ import annotations

import json
from pathlib import Path

from .avro import fingerprint_of, full_name, schema_of
from .codec import ARCHIVE, record_classes

AVSC = Path(__file__).parent / "avsc"


def schema_files() -> dict[Path, str]:
    """Every `.avsc` file with the text that it should have."""
    return {
        AVSC / f"{full_name(cls)}.avsc": json.dumps(schema_of(cls), indent=2) + "\n" for cls in record_classes()
    }


def main() -> None:
    for path, text in schema_files().items():
        if path.exists():
            old = fingerprint_of(json.loads(path.read_text()))
            if old != fingerprint_of(json.loads(text)):
                ARCHIVE.mkdir(exist_ok=True)
                (ARCHIVE / f"{old.hex()}.avsc").write_text(path.read_text())
        path.write_text(text)


if __name__ == "__main__":
    main()
