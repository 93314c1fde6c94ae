"""train-rm from rows to a folder that scores: the flow, resuming, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from seamaug import score, train_rm
from seamaug.cli import main
from seamaug.config import RewardConfig
from seamaug.errors import ConfigError, InputError, ModelError, RunFolderError
from seamaug.models.reward import RewardModel
from seamaug.train.trainer import RobustRewardTrainer

QUICK: dict[str, Any] = {
    "trainer.max_steps": 4,
    "trainer.save_steps": 2,
    "trainer.per_device_train_batch_size": 2,
    "meta.samples": 2,
    "meta.prompts": 3,
    "meta.max_new_tokens": 4,
}
ROWS = [
    {
        "prompt": f"What is {n} plus {n}?",
        "chosen": f"It is {2 * n}.",
        "rejected": f"I think that it is {n}, more or less.",
    }
    for n in range(8)
]


@pytest.fixture(scope="module")
def base(saved: Callable[..., str]) -> str:
    return saved("llama", "causal", initializer_range=0.1)


def run(base: str, out: Path, rows: Any = ROWS, **settings: Any) -> dict[str, Any]:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    return train_rm(rows, model=base, policy=base, out=out, settings={**QUICK, **named})


def weights(out: Path) -> dict[str, Any]:
    return load_file(out / "model.safetensors")


def test_what_is_trained_scores(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:3]))
    found = run(base, tmp_path / "rm", evaluation=str(test), trainer__max_steps=40,
                trainer__learning_rate=3e-3)  # fmt: skip
    assert capsys.readouterr().out == ""
    assert found["counts"] == {"pairs": 8, "too long": 0, "trained": 8}
    assert found["steps"] == 40
    judged = found["evaluation"][str(test)]
    assert judged == {"pairs": 3, "accuracy": 1.0}
    model = RewardModel(RewardConfig(name=str(tmp_path / "rm")))
    for row in ROWS:
        prompt = [{"role": "user", "content": row["prompt"]}]
        ids = model.conversation_ids(prompt, [row["chosen"], row["rejected"]])
        good, bad = model.rewards([ids])[0]
        assert good > bad
    assert len(score(ROWS, reward=str(tmp_path / "rm"), samples=2)) == 8
    assert not (tmp_path / "rm" / "stages" / "train").exists()


@pytest.mark.parametrize("lost", ["first", "between", "none"])
def test_a_killed_training_ends_with_the_same_weights(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    own = {"contrastive__method": "swav", "meta__step": 0.05, "smoothing__rate": 0.1}
    run(base, tmp_path / "whole", **own)
    step = RobustRewardTrainer.training_step
    calls = 0

    def killed(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == {"first": 1, "between": 4, "none": 99}[lost]:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    monkeypatch.setattr(RobustRewardTrainer, "training_step", killed)
    if lost != "none":
        with pytest.raises(KeyboardInterrupt):
            run(base, tmp_path / "rm", **own)
    assert run(base, tmp_path / "rm", **own)["steps"] == 4
    assert calls == {"first": 5, "between": 6, "none": 4}[lost]  # step 3 is repeated, 1 and 2 not
    whole, ours = weights(tmp_path / "whole"), weights(tmp_path / "rm")
    assert whole.keys() == ours.keys()
    assert all(whole[name].equal(ours[name]) for name in whole)
    assert not [name for name in whole if "prototypes" in name]


def test_a_half_written_checkpoint_is_passed_over(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(base, tmp_path / "whole")
    save = RobustRewardTrainer._save_rng_state

    def cut(self: Any, folder: str) -> None:
        if folder.endswith("-4"):
            raise KeyboardInterrupt
        save(self, folder)

    monkeypatch.setattr(RobustRewardTrainer, "_save_rng_state", cut)
    with pytest.raises(KeyboardInterrupt):
        run(base, tmp_path / "rm")
    monkeypatch.setattr(RobustRewardTrainer, "_save_rng_state", save)
    assert (tmp_path / "rm/stages/train/checkpoint-4").is_dir()
    run(base, tmp_path / "rm")
    whole, ours = weights(tmp_path / "whole"), weights(tmp_path / "rm")
    assert all(whole[name].equal(ours[name]) for name in whole)


def test_a_finished_training_is_left_as_it_is(base: str, tmp_path: Path) -> None:
    first = run(base, tmp_path)
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    assert run(base, tmp_path) == first
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("rows", "settings", "told"),
    [
        (ROWS[:-1], {}, "pairs"),
        (ROWS, {"smoothing__rate": 0.2}, "config.smoothing.rate: 0.0 -> 0.2"),
    ],
    ids=["rows", "setting"],
)
def test_another_training_is_refused_in_the_same_folder(
    base: str, tmp_path: Path, rows: Any, settings: dict[str, Any], told: str
) -> None:
    run(base, tmp_path)
    with pytest.raises(RunFolderError, match=told):
        run(base, tmp_path, rows, **settings)


def test_lora_trains_an_adapter_that_scores(base: str, tmp_path: Path) -> None:
    run(base, tmp_path / "rm", lora__rank=2, contrastive__method="swav")
    assert (tmp_path / "rm" / "adapter_model.safetensors").is_file()
    names = load_file(tmp_path / "rm" / "adapter_model.safetensors")
    assert any("lora_A" in name for name in names)
    assert any("score" in name for name in names)
    assert not any("prototypes" in name for name in names)
    model = RewardModel(RewardConfig(name=str(tmp_path / "rm")))
    ids = model.conversation_ids([{"role": "user", "content": "hi"}], ["a", "b"])
    assert len(set(model.rewards([ids])[0])) == 2


def test_labels_of_rows_count(base: str, tmp_path: Path) -> None:
    """A smoothing of 1 is a flipped pair."""
    flipped = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in ROWS]
    run(base, tmp_path / "a", [{**row, "smoothing": 1.0} for row in ROWS])
    run(base, tmp_path / "b", flipped)
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(a[name].allclose(b[name], atol=1e-5) for name in a)


def test_a_margin_of_some_rows_is_said(
    base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**row, "margin": 0.5} for row in ROWS[:3]] + ROWS[3:]
    run(base, tmp_path, rows)
    assert "5 of 8 pairs have no margin: theirs is 0" in caplog.text


def test_a_policy_that_nothing_asks_is_said(
    base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(base, tmp_path / "plain")
    assert "is not asked: only MetaRM samples it; set `meta.step`" in caplog.text
    caplog.clear()
    run(base, tmp_path / "meta", meta__step=0.01)
    assert "is not asked" not in caplog.text


def test_long_pairs_are_left_out_and_counted(
    base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*ROWS, {"prompt": "hi", "chosen": "long " * 200, "rejected": "short"}]
    found = run(base, tmp_path, rows, start__max_length=100)
    assert found["counts"] == {"pairs": 9, "too long": 1, "trained": 8}
    assert "1 of 9 pairs are longer than 100 tokens" in caplog.text


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"prompt": "a", "chosen": "b", "rejected": "b"}], r"row 1: there is no rejected"),
        ([{"prompt": "a", "chosen": "b", "rejected": ""}], r"row 1: field 'rejected' is empty"),
        ([*ROWS, {**ROWS[0], "smoothing": 2}], r"row 9: field 'smoothing' must be between 0 and 1"),
        ([*ROWS, {**ROWS[0], "margin": "much"}], r"row 9: field 'margin' must be a number"),
        ([{**ROWS[0], "margin": float("nan")}], r"row 1: field 'margin' must be finite"),
        ([], "there are no rows"),
    ],
)
def test_bad_pairs_are_named(base: str, tmp_path: Path, rows: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        run(base, tmp_path / "rm", rows)
    assert not (tmp_path / "rm").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"trainer": {"output_dir": "x"}}, "trainer.output_dir.*follows from"),
        ({"trainer": {"num_train_epochs": 0}}, "trainer.num_train_epochs: 0.*above 0"),
        ({"trainer": {"learning_rate": float("nan")}}, "trainer.learning_rate: nan.*above 0"),
        ({"trainer": {"pad_token": "<|end|>"}}, "trainer.pad_token.*follows from"),
        ({"trainer": {"learning_rat": 1}}, "learning_rat"),
        ({"contrastive": {"prototypes": 3}}, "`prototypes` are of `method: swav`"),
        ({"contrastiv": {}}, "did you mean `contrastive`"),
        ({"start": {"max_length": 3}}, "all 8 pairs are longer than 3 tokens"),
    ],
)
def test_bad_settings_are_named(
    base: str, tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises((ConfigError, InputError), match=told):
        train_rm(ROWS, model=base, out=tmp_path / "rm", settings=settings)


def test_a_start_that_is_no_language_model_is_named(
    base: str, copied: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied(base)
    kept = load_file(folder / "model.safetensors")
    save_file(
        {name: kept[name] for name in kept if "layers.1" not in name},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ModelError, match=r"lacks trained weights for model\.layers\.1"):
        run(str(folder), tmp_path / "rm")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no folder \./nowhere"):
        train_rm(ROWS, model="./nowhere", out=tmp_path / "rm")


def test_the_command_line(base: str, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    lines = [json.dumps(row) + "\n" for row in ROWS]
    pairs.write_text("".join(lines))
    some = tmp_path / "some.jsonl"
    some.write_text("".join([*lines, "{}\n"]))
    config = tmp_path / "train.yaml"
    config.write_text("trainer: {max_steps: 2}\n")
    out = tmp_path / "rm"
    command = ["train-rm", str(some), "--model", base, "--out", str(out), "--eval", str(pairs)]
    result = CliRunner().invoke(
        main, [*command, "--config", str(config), "--contrastive", "simcse", "--batch-size", "2",
               "--bad-rows", str(tmp_path / "bad.jsonl")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "8 of 8 pairs, 2 steps in" in said
    assert f"of {pairs}" in said
    stored = json.loads((out / "train.json").read_text())["config"]
    assert stored["contrastive"]["method"] == "simcse"
    assert stored["trainer"] == {"max_steps": 2, "per_device_train_batch_size": 2}
