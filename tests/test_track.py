"""Scalars of a run, read back from what TensorBoard and W&B store."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seamaug import expand
from seamaug.errors import ConfigError

SETTINGS = {
    "select.share": 0.5,
    "generate.policy_samples": 0,
    "generate.batch_parents": 2,
    "score.samples": 4,
}
OUTPUTS = ("sft/train.parquet", "preference/train.parquet", "provenance.parquet")


def run(rows: list[dict[str, Any]], out: Path, **arguments: Any) -> Any:
    return expand(rows, budget=12, out=out, settings=SETTINGS, **arguments)


def test_tensorboard_reads_what_a_run_logged(tmp_path: Path, bundled: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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


def test_wandb_offline(tmp_path: Path, bundled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    result = run(bundled(12), tmp_path / "tracked", track="wandb")
    assert wandb.run is None, "it ends with the run"
    (folder,) = (result.path / "wandb").glob("offline-run-*")
    run_id = json.loads((result.path / "stages" / "found.json").read_text())["wandb"]
    assert folder.name.endswith(run_id)
    assert list(folder.glob("*.wandb"))


def test_a_missing_package_is_named_before_the_models_load(
    tmp_path: Path, bundled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"needs a package.*pip install 'seamaug\[wandb\]'"):
        run(bundled(12), tmp_path / "run", track="wandb")
    assert not (tmp_path / "run" / "sft").exists()
