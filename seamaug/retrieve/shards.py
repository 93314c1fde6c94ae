"""An index with clusters, in files: shards that are built one at a time and mapped for searches.

Memory holds one shard while it is filled, and of the others what searches touch. A build that was
killed goes on at the shard that it was at; vectors added at the end fill up the last one.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from seamaug.config import RetrieveConfig
from seamaug.errors import RunFolderError
from seamaug.log import logger
from seamaug.retrieve.clustered import ClusteredIndex, Effort, add, trained
from seamaug.retrieve.exact import nearest_by
from seamaug.run.folder import whole_file
from seamaug.run.seal import sealed_json, unsealed_json

_SHARD = 4_194_304  # vectors: 0.4 GiB of codes at 384 dimensions
_BLOCK = 65_536
_MANIFEST = "index.json"


def stored_index(
    faiss: Any, vectors: np.ndarray, config: RetrieveConfig, folder: Path
) -> ClusteredIndex:
    """The index with clusters in `folder`; built, extended or calibrated anew where it must be.

    Raises RunFolderError where it was built from other vectors.
    """
    known = _read(folder / _MANIFEST)
    if known:
        _check_vectors(folder, known, vectors)
    shards = list(_whole(folder, known.get("shards", [])))
    if sum(shard["rows"] for shard in shards) < len(vectors):
        known = {}
        for finished in _filled(faiss, folder, shards, vectors):
            _write(folder, shards := finished, vectors)
    index = ClusteredIndex([_mapped(faiss, folder, number) for number in range(len(shards))])
    if known.get("recall") == config.recall:
        index.efforts = [Effort(**effort) for effort in known["efforts"]]
    else:
        index.calibrate(vectors, config.recall, nearest_by(config.engine))
        efforts = [asdict(effort) for effort in index.efforts]
        _write(folder, shards, vectors, recall=config.recall, efforts=efforts)
    return index


def size_of(folder: Path) -> int:
    """Bytes of its shards."""
    shards = _read(folder / _MANIFEST)["shards"]
    return sum(_path(folder, number).stat().st_size for number in range(len(shards)))


def _filled(
    faiss: Any, folder: Path, shards: Sequence[dict[str, Any]], vectors: np.ndarray
) -> Iterator[list[dict[str, Any]]]:
    """Write what is missing of the shards; after each, what the manifest has to say of all."""
    empty = None
    full = [shard for shard in shards if shard["rows"] == _SHARD]
    begun = shards[len(full) :]  # one at most
    for start in range(len(full) * _SHARD, len(vectors), _SHARD):
        own = vectors[start : start + _SHARD]
        number, done = start // _SHARD, 0
        path = _path(folder, number)
        if begun:
            index, done = faiss.read_index(str(path)), begun[0]["rows"]
            begun = []
            yield full  # while it is written anew, it is not vouched for
        elif shards:
            index = faiss.read_index(str(_path(folder, 0)))
            index.reset()
        else:
            empty = empty or trained(faiss, vectors)
            index = faiss.clone_index(empty)
        add(index, own[done:])
        with whole_file(path) as temporary:
            faiss.write_index(index, str(temporary))
        full = [*full, {"file": _sum(path), "rows": len(own), "fingerprint": fingerprint(own)}]
        yield full


def _write(
    folder: Path, shards: Sequence[dict[str, Any]], vectors: np.ndarray, **calibration: Any
) -> None:
    rows = sum(shard["rows"] for shard in shards)
    told = {"rows": rows, "dimensions": vectors.shape[1], "shards": shards, **calibration}
    with whole_file(folder / _MANIFEST) as temporary:
        temporary.write_text(sealed_json(told), encoding="utf-8")


def _read(manifest: Path) -> dict[str, Any]:
    """What it says; empty where no shard was finished, or the index has to be built anew."""
    if not manifest.exists():
        return {}
    try:
        found = unsealed_json(manifest.read_text(encoding="utf-8"))
        return found if "shards" in found else {}  # that of an earlier version had none
    except (OSError, ValueError) as error:
        logger.warning(f"{manifest} is damaged ({error}): the index is built anew")
        return {}


def _check_vectors(folder: Path, known: dict[str, Any], vectors: np.ndarray) -> None:
    rows, dimensions, start = known["rows"], known["dimensions"], 0
    same = dimensions == vectors.shape[1] and rows <= len(vectors)
    for shard in known["shards"]:
        own = vectors[start : start + shard["rows"]]
        same = same and shard["fingerprint"] == fingerprint(own)
        start += shard["rows"]
    if not same:
        raise RunFolderError(
            f"the index in {folder} was built from other vectors ({rows:,} of {dimensions} "
            f"dimensions) than these {len(vectors):,} of {vectors.shape[1]}; delete "
            f"{folder / _MANIFEST} and run the same command again: the index is built anew"
        )


def _whole(folder: Path, shards: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those before the first one that is not as it was written."""
    for number, shard in enumerate(shards):
        path = _path(folder, number)
        if not path.exists() or _sum(path) != shard["file"]:
            logger.warning(f"{path} is missing or damaged: the index is built anew from there")
            return
        yield shard


def _mapped(faiss: Any, folder: Path, number: int) -> Any:
    return faiss.read_index(str(_path(folder, number)), faiss.IO_FLAG_MMAP_IFC)


def _path(folder: Path, number: int) -> Path:
    return folder / f"index-{number:05d}.faiss"


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(vectors: np.ndarray) -> str:
    """Content hash of vectors, shape and dtype, read a block at a time."""
    digest = hashlib.blake2b(f"{vectors.shape} {vectors.dtype}".encode(), digest_size=16)
    for start in range(0, len(vectors), _BLOCK):
        digest.update(np.ascontiguousarray(vectors[start : start + _BLOCK]).view(np.uint8).data)
    return digest.hexdigest()
