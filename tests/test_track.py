"""Scalars of a run, read back from what TensorBoard and W&B store."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seamaug import expand
from seamaug.config import Config
from seamaug.errors import ConfigError
from seamaug.run.folder import RunFolder
from seamaug.run.track import tracking

SETTINGS = {
    "select.top": 2,
    "generate.policy_samples": 0,
    "generate.batch_parents": 1,
    "generate.per_parent": 16,
    "score.samples": 4,
    "keep.probes": 4,
    "keep.variance_prompts": 2,
    "keep.variance_samples": 2,
}
OUTPUTS = ("sft/train.parquet", "preference/train.parquet", "provenance.parquet")


def run(rows: list[dict[str, Any]], out: Path, **arguments: Any) -> Any:
    return expand(rows, budget=6, out=out, settings=SETTINGS, **arguments)


def test_tensorboard_reads_what_a_run_logged(tmp_path: Path, bundled: Any) -> None:
    rows = bundled(12)
    result = run(rows, tmp_path / "tracked", track="tensorboard")
    events = EventAccumulator(str(tmp_path / "tracked" / "tensorboard"))
    events.Reload()
    scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    assert scalars.keys() == {
        f"seam/{name}"
        for name in ("mean", "hack_rate", "kept", "candidates", "foreseen", "foreseen_variance")
    }
    (mean,) = scalars["seam/mean"]
    assert mean.value == pytest.approx(result.summary["discrepancy"]["mean"])
    kept = scalars["seam/kept"]
    assert [point.step for point in kept] == list(range(1, len(kept) + 1))
    assert len(kept) > 1
    assert kept[-1].value == len(result.sft) > 0
    assert scalars["seam/foreseen"][-1].value == pytest.approx(
        result.summary["foreseen"]["curve"][-1]["seam"]
    )
    # The same run, whether it is watched or not.
    plain = run(rows, tmp_path / "plain")
    for name in OUTPUTS:
        assert (result.path / name).read_bytes() == (plain.path / name).read_bytes()
    assert run(rows, tmp_path / "plain", track="tensorboard").summary == plain.summary


def logged_twice(out: Path, tracker: str) -> None:
    """By a run that is killed before its first part is finished, and goes on."""
    config = Config.model_validate({"track": tracker})
    for step in (0, 1):
        with RunFolder(out, {"of": "a run"}) as folder, tracking(config, folder) as track:
            track({"kept": 3.0 * step}, step)


def test_a_run_that_goes_on_logs_to_the_same_place(tmp_path: Path) -> None:
    logged_twice(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("seam/kept")] == [(0, 0.0), (1, 3.0)]


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged_twice(tmp_path, "wandb")
    assert wandb.run is None, "it ends with the block"
    run_id = json.loads((tmp_path / "stages" / "found.json").read_text())["wandb"]
    files = list((tmp_path / "wandb").glob(f"offline-run-*-{run_id}/*.wandb"))
    assert len(files) == 2, "two processes, one run"
    assert all(b"seam/kept" in file.read_bytes() for file in files)


def test_a_missing_package_is_named_before_the_models_load(
    tmp_path: Path, bundled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"needs a package.*pip install 'seamaug\[wandb\]'"):
        run(bundled(12), tmp_path / "run", track="wandb")
    assert not (tmp_path / "run" / "sft").exists()
