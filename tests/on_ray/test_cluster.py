"""How a run comes to its cluster, and goes."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import pytest

from seamaug.errors import ConfigError
from seamaug.on_ray.cluster import _connect

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'seamaug[ray]'")
SCORE = """
    import json, sys
    import ray
    from seamaug import api

    rows = json.loads(sys.argv[3])
    models = {"policy": sys.argv[1], "reward": sys.argv[2]}
    there = api.score(rows, engine="ray", samples=2, **models)
    assert not ray.is_initialized()
    assert there.to_dict() == api.score(rows, samples=2, **models).to_dict()
    print(len(there))
"""


@pytest.mark.parametrize("named", [True, False])
def test_a_run_enters_the_cluster_that_is_named_or_starts_its_own(
    named: bool, cluster: Any, saved: Callable[..., str], bundled: Any
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    if named:
        environment["RAY_ADDRESS"] = cluster.address
    before = len(ray.nodes())
    given = [saved("gpt2", "causal"), saved("gpt2", "reward"), json.dumps(bundled(6))]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCORE), *given],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "6", done.stderr
    assert len(ray.nodes()) == before


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_an_error_within_seconds(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    start = time.monotonic()
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS={address} cannot be used: .*unset"):
        _connect(ray)
    assert time.monotonic() - start < 30  # Ray's own attempts take minutes
