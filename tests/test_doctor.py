"""`seamaug doctor`: what it finds, on this machine and on broken ones."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from packaging.requirements import Requirement

from seamaug import doctor, resources
from seamaug.cli import main


def says(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def checks(*, works: bool = True) -> dict[str, dict[str, str]]:
    result = says("--json")
    found = json.loads(result.stdout)
    assert found["works"] is works
    assert result.exit_code == (0 if works else 1)
    return {check["name"]: check for check in found["checks"]}


def test_this_machine_works_and_every_lack_has_its_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    # The hub's module reads the environment once; the token is read each time.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_a-secret-of-mine")
    result = says("--json")
    assert "a-secret-of-mine" not in result.output
    found = checks()
    for name in ("Python", "packages", "CPU", "bundled models", "hub", "disk"):
        assert found[name]["status"] in ("ok", "warning"), found[name]
    assert found["hub"]["found"] == "a token is there"
    assert "nats" in found["bundled models"]["found"]
    assert found["extra train"]["status"] == "ok"
    assert all(check["advice"] for check in found.values() if check["status"] != "ok")


def test_the_table_for_people() -> None:
    result = says()
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    for text in ("status", "bundled models", "advice", "packages ok"):
        assert text in shown


def test_a_package_outside_its_range_breaks_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [Requirement("torch<2.0"), Requirement("no-such-package>=1")]
    monkeypatch.setattr(doctor, "_requirements", lambda: (own, {"server": [own[1]]}))
    found = checks(works=False)
    assert "torch 2." in found["packages"]["found"]
    assert "is outside <2.0; no-such-package is missing" in found["packages"]["found"]
    assert found["extra server"]["status"] == "off"
    assert "pip install 'seamaug[server]'" in found["extra server"]["advice"]


def test_a_spoilt_bundled_model_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resources.resource("embedded")
    spoilt = Path(shutil.copytree(whole, tmp_path / "embedded"))
    (spoilt / "policy" / "model.safetensors").write_bytes(b"no weights")

    def resource(*parts: str) -> Any:
        return tmp_path.joinpath(*parts)

    monkeypatch.setattr("seamaug.models.loading.resource", resource)
    found = checks(works=False)["bundled models"]
    assert found["status"] == "broken"
    assert "policy model 'embedded' cannot be loaded" in found["found"]


def test_disk_and_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "gone"))
    found = checks()
    assert found["hub"]["status"] == "off"
    assert "HF_TOKEN" in found["hub"]["advice"]
    assert found["disk"]["status"] == "warning"
    assert found["disk"]["found"].startswith(f"cannot write {tmp_path / 'gone'}")
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "_LITTLE_DISK", 1 << 60)
    assert doctor._disk().status == "warning"
