"""Vectors of earlier runs, by content: of the same texts, in the same batch, by the same embedder.

A whole batch is what is found again, since a text that is embedded in another one differs in its
last bits, and the same inputs must give the same bytes. So seeds that come again cost nothing, and
rows that are appended to them their own embedding, with the batch that was the last one; where a
row comes in before others, all behind it are embedded anew.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from seamaug.log import logger

_SUM = hashlib.sha256().digest_size


@dataclass(frozen=True)
class VectorCache:
    """A folder with a file for each batch: an .npy with its SHA-256 behind it."""

    folder: Path
    mark: str
    """What, beside the texts and the device, decides their vectors: the embedder, its settings."""

    def vectors(
        self, texts: Sequence[str], embed: Callable[[Sequence[str]], np.ndarray], device: str
    ) -> np.ndarray:
        """What is stored, or what `embed` makes on this device, which then is."""
        path = self.folder.expanduser() / f"{self._key(texts, device)}.npy"
        found = _read(path)
        if found is None:
            found = embed(texts)
            self._write(path, found)
        return found

    def _key(self, texts: Sequence[str], device: str) -> str:
        key = hashlib.sha256(f"{self.mark} {device}".encode())
        for text in texts:
            content = text.encode("utf-8", "surrogatepass")
            key.update(len(content).to_bytes(8, "big") + content)
        return key.hexdigest()

    def _write(self, path: Path, vectors: np.ndarray) -> None:
        own = io.BytesIO()
        np.save(own, vectors, allow_pickle=False)
        content = own.getvalue()
        temporary = path.with_name(f"{path.name}.{uuid4().hex}")  # runs may share the folder
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(content + hashlib.sha256(content).digest())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:  # the run can do without
            logger.warning(f"`embedder.cache`: {path} cannot be written ({error})")


def _read(path: Path) -> np.ndarray | None:
    """None where it is not there, or is damaged: then it is made anew."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning(f"`embedder.cache`: {path} cannot be read ({error})")
        return None
    if hashlib.sha256(content[:-_SUM]).digest() != content[-_SUM:]:
        logger.warning(f"`embedder.cache`: {path} is damaged: its texts are embedded anew")
        return None
    vectors: np.ndarray = np.load(io.BytesIO(content[:-_SUM]), allow_pickle=False)
    return vectors
