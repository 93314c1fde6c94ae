"""Places beyond this disk, such as s3://bucket/folder: whatever fsspec opens.

An object store takes and gives whole objects. It has no rename, no append and no lock, and nothing
of it can be mapped into memory. So nothing is worked on there: a file is made on this disk and sent
when it is whole, or fetched and read here. What a store shows under a name is whole.

Credentials are the file system's own affair: its environment variables and files (for S3 those of
boto3), or fsspec's configuration. An address that holds any is refused, so none gets into a log.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from seamaug.errors import ConfigError, SeamaugError, StorageError

Place = str | Path
"""A path on this disk, or an address as text."""

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://")
_MANGLED = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)")
"""What pathlib makes of an address."""
_SECRET = re.compile(r"://[^/]*:[^/]*@")
_EXTRAS = {"s3": "'seamaug[s3]'", "s3a": "'seamaug[s3]'", "gs": "gcsfs", "gcs": "gcsfs"}


@dataclass(frozen=True)
class Remote:
    """A folder or a file on a file system of fsspec; each method may raise StorageError."""

    url: str
    """As the user wrote it, without a slash at the end."""
    fs: Any
    root: str
    """The path within the file system."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.root).name

    def names(self) -> dict[str, int]:
        """Files below the folder by their path from there, with their sizes in bytes."""
        with self._explained():
            self.fs.invalidate_cache()
            found = self.fs.find(self.root, detail=True)
        start = f"{self.root}/"
        names = {
            path.removeprefix(start): info["size"]
            for path, info in sorted(found.items())
            if path.startswith(start) and not path.endswith("/")
        }
        for name in names:  # whoever writes to a bucket names what is in it
            if ".." in name.split("/") or name.startswith("/"):
                raise StorageError(
                    f"{self.url} holds {name!r}, which would lie outside of the folder here; "
                    "remove that object"
                )
        return names

    def is_file(self) -> bool:
        """Whether there is an object of just this name."""
        with self._explained():
            self.fs.invalidate_cache()
            return bool(self.fs.isfile(self.root))

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None where there is none."""
        with self._explained():
            try:
                return bytes(self.fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Store a small file, in place of an earlier one."""
        with self._explained():
            self.fs.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Store a small file unless there is one; of several callers one gets True."""
        with self._explained():
            try:
                self.fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
        return True

    def fetch(self, names: Iterable[str], folder: Path) -> None:
        """Copy these files into a folder of this disk, several at a time."""
        targets = {name: folder / name for name in names}
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            if targets:
                self.fs.get(
                    [self._path(name) for name in targets], list(map(str, targets.values()))
                )

    def fetch_file(self, target: Path) -> None:
        """Copy the object of just this name."""
        with self._explained():
            self.fs.get_file(self.root, str(target))

    def send(self, path: Path, name: str = "") -> None:
        """Copy a file of this disk there, under a name below the folder, or as the place itself."""
        with self._explained():
            self.fs.put_file(str(path), self._path(name) if name else self.root)

    def remove(self, names: Iterable[str]) -> None:
        """Remove these files, whether they are there or not."""
        for name in names:
            with self._explained(), suppress(FileNotFoundError):
                self.fs.rm_file(self._path(name))

    def remove_all(self) -> None:
        """Remove the folder."""
        with self._explained(), suppress(FileNotFoundError):
            self.fs.rm(self.root, recursive=True)

    def matches(self) -> list["Remote"]:
        """The files that the address, as a pattern, stands for; in order."""
        with self._explained():
            self.fs.invalidate_cache()
            paths = sorted(self.fs.glob(self.root))
            files = [path for path in paths if self.fs.isfile(path)]
        scheme = self.url.split("://")[0]
        return [Remote(f"{scheme}://{path.lstrip('/')}", self.fs, path) for path in files]

    def below(self, name: str) -> "Remote":
        """A folder or file in this folder."""
        return Remote(f"{self.url}/{name}", self.fs, self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _explained(self) -> Any:
        return _explained(self.url)


def remote(place: Place) -> Remote | None:
    """The place beyond this disk that an address names; None for a path.

    Raises StorageError where nothing can open it, ConfigError where it holds a password.
    """
    text = str(place).rstrip("/")
    scheme = _scheme(text)
    if scheme is None:
        return None
    if _MANGLED.match(text):
        raise ConfigError(f'{text}: give an address as text, such as "s3://...", not as a Path')
    if _SECRET.search(text):
        raise ConfigError(
            f"{text}: an address may hold no password; give credentials as the file system takes "
            "them from the environment"
        )
    if scheme in ("file", "local"):
        raise ConfigError(f"{text}: give a path of this disk as a path")
    if scheme in ("http", "https"):
        raise StorageError(f"{text}: web servers are not read from; download it first")
    import fsspec

    with _explained(text):
        fs, root = fsspec.core.url_to_fs(text)
    return Remote(text, fs, root.rstrip("/"))


def here(place: Place) -> Path:
    """The place as a path of this disk; raises ConfigError for an address."""
    if _scheme(str(place)):
        raise ConfigError(f"{place}: this goes to a disk alone; give a path, and copy the result")
    return Path(place)


def _scheme(text: str) -> str | None:
    """What an address begins with; None for a path."""
    if match := _ADDRESS.match(text):
        return match[1]
    if match := _MANGLED.match(text):
        import fsspec

        return match[1] if match[1] in fsspec.available_protocols() else None
    return None


@contextmanager
def renamed_errors(pattern: str, url: str) -> Iterator[None]:
    """Errors of the block say the address where they would say what the pattern matches."""
    try:
        yield
    except SeamaugError as error:
        error.args = (re.sub(pattern, lambda _: url, str(error)), *error.args[1:])
        raise


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what a file system raises, which each does in its own way, into an error with a fix."""
    scheme = url.split("://")[0]
    try:
        yield
    except (SeamaugError, FileExistsError):
        raise
    except ImportError:
        package = _EXTRAS.get(scheme, f"the one by which fsspec opens {scheme}://")
        raise StorageError(f"{url} needs a missing package: pip install {package}") from None
    except FileNotFoundError as error:
        raise StorageError(f"{url}: not found ({_said(error)}); check the address") from None
    except Exception as error:
        if isinstance(error, ValueError) and "Protocol not known" in str(error):
            fix = "no file system of fsspec has this name; check the address"
        elif isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
            fix = (
                "access is refused: give credentials that may read and write there, in the "
                "environment or the files that the file system reads (for S3 AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
            )
        else:
            fix = "it cannot be reached; what is there already is kept: run the same command again"
        raise StorageError(f"{url}: {_said(error)}: {fix}") from error


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
