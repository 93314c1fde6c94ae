"""Files that show any damage: their own SHA-256 is in them.

In a Parquet file it lies between the last page and the footer, where nothing points and readers
look at nothing. (Parquet's own checksums cover pages, not their headers and not the footer.) In a
JSON file it is a key. So a file and what vouches for it appear, and go, together.
"""

import hashlib
import json
from pathlib import Path
from typing import IO, Any

_MAGIC = b"PAR1"
_SIZE = 32
_BLOCK = 1 << 20
_KEY = "sha256"


def seal(path: Path) -> None:
    """Put its digest into a whole Parquet file."""
    with path.open("r+b") as file:
        start = _footer(file)
        digest = _digest_to(file, start)
        footer = file.read()
        digest.update(footer)
        file.seek(start)
        file.write(digest.digest() + footer)


def check(path: Path) -> None:
    """Raise OSError where a sealed Parquet file cannot be read, or is not as it was written."""
    with path.open("rb") as file:
        digest = _digest_to(file, _footer(file) - _SIZE)
        told = file.read(_SIZE)
        digest.update(file.read())
    if digest.digest() != told:
        raise OSError("its checksum is wrong")


def _footer(file: IO[bytes]) -> int:
    """Where the footer begins: its length and the magic bytes come last."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    end = file.read()
    start = size - 8 - int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or start < len(_MAGIC):
        raise OSError("its end is missing")
    return start


def _digest_to(file: IO[bytes], end: int) -> Any:
    """Digest of the first `end` bytes, behind which the file then stands."""
    digest = hashlib.sha256()
    file.seek(0)
    while end > 0:
        block = file.read(min(end, _BLOCK))
        digest.update(block)
        end -= len(block)
    return digest


def sealed_json(value: dict[str, Any]) -> str:
    """An object as text with its digest."""
    return json.dumps({**value, _KEY: _json_digest(value)}, indent=2) + "\n"


def unsealed_json(text: str) -> dict[str, Any]:
    """The object; ValueError where it is not what was written."""
    found = json.loads(text)
    told = found.pop(_KEY, None) if isinstance(found, dict) else None
    if told is None or told != _json_digest(found):
        raise ValueError("its checksum is wrong")
    return dict(found)


def _json_digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
