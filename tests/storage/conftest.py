"""Stores beyond this disk: fsspec's memory, and a real S3 server on this machine."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from moto.server import ThreadedMotoServer

from seamaug.run import lease
from tests.faults.scene import OUTPUTS, SETTINGS

SECRET = "planted-s3-secret-0123456789"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> str:
    """The address of an empty folder, on each kind of store."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def memory() -> str:
    files = fsspec.filesystem("memory")
    if files.exists("/bucket"):
        files.rm("/bucket", recursive=True)
    return "memory://bucket"


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Credentials and the server's address come from the environment, as a user gives them."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    if files.exists("bucket"):
        files.rm("bucket", recursive=True)
    files.mkdir("bucket")
    fsspec.filesystem("s3").clear_instance_cache()
    return "s3://bucket"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Be on the machine of this name: each has a cache of its own. Beats are short ones."""
    monkeypatch.setattr(lease, "BEAT", 0.2)
    monkeypatch.setattr(lease, "PATIENCE", 2.0)

    def be_on(name: str) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return tmp_path / name

    be_on("first")
    return be_on


@pytest.fixture(scope="session")
def rows(bundled: Any) -> list[dict[str, Any]]:
    return list(bundled(24))


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    return path


@pytest.fixture(scope="session")
def local(rows: Any, config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run on this disk makes."""
    from seamaug import expand

    out = tmp_path_factory.mktemp("local") / "run"
    expand(rows, out=out, config=config, budget=8)
    return {name: (out / name).read_bytes() for name in OUTPUTS}


def contents(url: str) -> dict[str, bytes]:
    """All files of a store's folder by their path from there."""
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}


def put_lines(url: str, rows: list[dict[str, Any]]) -> None:
    files, path = fsspec.core.url_to_fs(url)
    files.pipe_file(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
