"""`strength` from rows to treated pairs, with given models and with an ensemble trained here."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForSequenceClassification

from seamaug import strength, train_rm
from seamaug.cli import main
from seamaug.config import RewardConfig
from seamaug.errors import ConfigError, InputError, RunFolderError
from seamaug.models.reward import RewardModel
from seamaug.voting.ensemble import EnsembleTrainer, bagging, with_heads

QUICK: dict[str, Any] = {
    "ensemble.heads": 4,
    "ensemble.trainer.per_device_train_batch_size": 4,
    "ensemble.trainer.learning_rate": 3e-3,
    "ensemble.trainer.num_train_epochs": 3,
}
FLIP = {"treat.incorrect": "flip"}
# Right labels say "yes"; the last three say "no" and are wrong.
NOTES = {"source": "made up", "licence": "CC0"}
ROWS = [
    {"prompt": f"Is {n} a number?", "chosen": "yes it is", "rejected": "no it never was", **NOTES}
    for n in range(20)
]
WRONG = [
    {"prompt": f"Is {n} a number?", "chosen": "no it never was", "rejected": "yes it is", **NOTES}
    for n in (30, 31, 32)
]


def says_yes(prompt: Any, response: str, golden: str) -> bool:
    return "yes" in response


@pytest.fixture(scope="module")
def base(saved: Callable[..., str]) -> str:
    return saved("llama", "causal", initializer_range=0.1)


@pytest.fixture(scope="module")
def judges(saved: Callable[..., str]) -> list[str]:
    return [saved("llama", "reward", initializer_range=0.1 + n / 20) for n in range(3)]


@pytest.fixture(scope="module")
def trained(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("strength") / "out"
    judge = f"{__name__}:says_yes"
    settings = {**QUICK, "treat.ambiguous": "drop", "treat.margin": True, **FLIP}
    strength(ROWS + WRONG, model=base, out=out, judge=judge, settings=settings)
    return out


def pairs(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "pairs.parquet").to_pylist()
    return rows


def test_an_ensemble_finds_wrong_labels_and_flips_them(trained: Path) -> None:
    rows = pairs(trained)
    flipped = [row for row in rows if row["treatment"] == "flipped"]
    assert {row["where"] for row in flipped} == {"row 21", "row 22", "row 23"}
    assert all(row["chosen"][-1]["content"] == "yes it is" for row in rows)
    assert all(row["chosen"][0] == row["rejected"][0] for row in rows)
    assert all(row["mu"] < 0 < row["margin"] == -row["mu"] for row in flipped)
    assert {(row["source"], row["licence"]) for row in rows} == {("made up", "CC0")}


def test_bands_are_shown_against_a_judge(trained: Path) -> None:
    told = json.loads((trained / "strength.json").read_text())
    agreement = {row["band"]: row["agreement"] for row in told["bands"]}
    assert agreement["incorrect"] == 0.0
    assert agreement["strong"] == 1.0
    assert sum(row["pairs"] for row in told["bands"]) == told["pairs"] == 23
    assert told["models"] == 4
    assert sum(told["treated"].values()) == 23
    assert len(pairs(trained)) == 23 - told["treated"].get("dropped", 0)


def test_a_finished_one_is_left_and_another_refused(base: str, trained: Path) -> None:
    before = (trained / "pairs.parquet").stat().st_mtime_ns
    judge = f"{__name__}:says_yes"
    settings = {**QUICK, "treat.ambiguous": "drop", "treat.margin": True, **FLIP}
    again = strength(ROWS + WRONG, model=base, out=trained, judge=judge, settings=settings)
    assert again["pairs"] == 23
    assert (trained / "pairs.parquet").stat().st_mtime_ns == before
    with pytest.raises(RunFolderError, match=r"certain: 1.0 -> 2.0"):
        strength(ROWS + WRONG, model=base, out=trained, judge=judge,
                 settings={**settings, "certain": 2.0})  # fmt: skip


def test_what_is_written_trains_a_reward_model(base: str, trained: Path, tmp_path: Path) -> None:
    found = train_rm(
        str(trained / "pairs.parquet"),
        model=base,
        out=tmp_path / "rm",
        settings={"trainer.max_steps": 2},
    )
    assert found["counts"]["trained"] == len(pairs(trained))


def test_quiet_training_prints_nothing(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strength(ROWS[:8], model=base, out=tmp_path / "out", settings=QUICK)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("wrong", "flips"), [(0.1, True), (0.5, False)])
def test_labels_are_flipped_where_votes_can_tell_them(
    base: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    wrong: float,
    flips: bool,
) -> None:
    count, rng = 300, random.Random(0)  # by chance, so that no prompt tells
    drawn = (WRONG[0] if rng.random() < wrong else ROWS[0] for _ in range(count))
    rows = [{**row, "prompt": f"{n}?"} for n, row in enumerate(drawn)]
    settings = {**QUICK, "ensemble.trainer.num_train_epochs": 1, "treat.margin": True}
    found = strength(rows, model=base, out=tmp_path / "out", settings=settings)
    worth = found["agreement"]
    assert worth["pairs"] >= count // 10
    assert (worth["flipping_pays_above"] < 0.2) is flips
    assert ("flipped" in found["treated"]) is flips
    called = "incorrect" in {band["band"] for band in found["bands"]}
    kept = "labels called incorrect are kept: the votes agree with" in caplog.text
    assert kept is (called and not flips)


def test_a_few_pairs_are_not_flipped_by(
    base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = strength(ROWS + WRONG, model=base, out=tmp_path / "out", settings=QUICK)
    assert "flipped" not in found["treated"]
    assert "there are 2 pairs that the voters had not seen, too few" in caplog.text


def test_given_models_vote_with_their_own_margins(judges: list[str], tmp_path: Path) -> None:
    found = strength(ROWS[:4], reward=judges, out=tmp_path / "out",
                     settings={"treat.incorrect": "keep", "treat.ambiguous": "keep"})  # fmt: skip
    assert found["models"] == 3
    rows = pairs(tmp_path / "out")
    margins = []
    for name in judges:
        model = RewardModel(RewardConfig(name=name))
        prompt = [{"role": "user", "content": ROWS[1]["prompt"]}]
        ids = model.conversation_ids(prompt, [ROWS[1]["chosen"], ROWS[1]["rejected"]])
        good, bad = model.rewards([ids])[0]
        margins.append(good - bad)
    assert rows[1]["mu"] == pytest.approx(np.mean(margins), rel=1e-4)
    assert rows[1]["sigma"] == pytest.approx(np.std(margins), rel=1e-3)
    assert "margin" not in rows[1]


def test_pairs_that_no_model_can_read_stay_and_are_counted(base: str, tmp_path: Path) -> None:
    long = {"prompt": "Is 99 a number?", "chosen": "no " * 300, "rejected": "yes"}
    settings = {**QUICK, "ensemble.start.max_length": 200, "ensemble.trainer.num_train_epochs": 1}
    found = strength([*ROWS, long], model=base, out=tmp_path / "out", settings=settings)
    assert found["unread"] == 1
    last = pairs(tmp_path / "out")[-1]
    assert (last["band"], last["treatment"], last["smoothing"]) == ("unread", "kept", 0.0)
    assert last["chosen"][-1]["content"] == long["chosen"]


def test_a_reward_that_is_no_number_is_named_by_row(
    judges: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a pair that is too long for one of the models: the others vote on both."""
    folder = Path(shutil.copytree(judges[0], tmp_path / "broken"))
    model = AutoModelForSequenceClassification.from_pretrained(judges[0])
    (mark,) = set(RewardModel(RewardConfig(name=judges[0])).tokenizer("~")["input_ids"])
    with torch.no_grad():
        model.get_input_embeddings().weight[mark] = float("nan")
    model.save_pretrained(folder)
    rows = [*ROWS[:2], {**ROWS[2], "rejected": "~"}, {**ROWS[3], "rejected": "no " * 300}]
    voters = [str(folder), *judges[1:]]
    for _ in range(2):  # from the stored part too
        found = strength(rows, reward=voters, out=tmp_path / "out")
        (tmp_path / "out" / "strength.json").unlink()
        told = f"reward model {folder} does not vote: returned nan for response 2 of 2"
        assert f"row 3: {told}" in caplog.text
        assert "row 4: " in caplog.text
        assert "too long: " in caplog.text
        assert f"row 2: reward model {folder}" not in caplog.text
        caplog.clear()
    assert found["unread"] == 1  # row 4, which none of them can read
    assert np.isfinite([row["mu"] for row in pairs(tmp_path / "out")]).all()


def test_a_stopped_vote_goes_on_to_the_same_bytes(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = EnsembleTrainer.training_step, 0

    def killed(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 15:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    settings = {**QUICK, "ensemble.trainer.num_train_epochs": 4, "ensemble.trainer.save_steps": 5}
    strength(ROWS, model=base, out=tmp_path / "whole", settings=settings)
    monkeypatch.setattr(EnsembleTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        strength(ROWS, model=base, out=tmp_path / "out", settings=settings)
    strength(ROWS, model=base, out=tmp_path / "out", settings=settings)
    assert calls == 15 + 10  # step 11 on are repeated
    whole, ours = (tmp_path / name / "pairs.parquet" for name in ("whole", "out"))
    assert whole.read_bytes() == ours.read_bytes()


def test_heads_are_weighed_by_their_own_samples(base: str, tmp_path: Path) -> None:
    """The loss by a loop over pairs and heads."""
    weights = bagging(6, 3, seed=0)
    assert weights.shape == (6, 3)
    assert 0.7 < bagging(2000, 5, 1).mean() < 1.3
    assert not (bagging(50, 2, 1)[:, 0] == bagging(50, 2, 1)[:, 1]).all()
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    with_heads(model, model.score, 3)
    assert model.score.weight.shape[0] == 3
    trainer = EnsembleTrainer.__new__(EnsembleTrainer)
    trainer._weights = torch.tensor(weights, dtype=torch.float32)
    trainer._metrics = {"train": {"accuracy": []}}
    ids = torch.tensor([[5, 6, 7], [5, 6, 8], [5, 9, 7], [5, 9, 8]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pair": torch.tensor([4, 1])}
    model.config.pad_token_id = 0
    loss = trainer.compute_loss(model, dict(batch))
    scores = model(input_ids=ids, attention_mask=batch["attention_mask"]).logits
    wanted = sum(
        -weights[pair, head] * torch.nn.functional.logsigmoid(scores[i, head] - scores[i + 2, head])
        for i, pair in enumerate((4, 1))
        for head in range(3)
    )
    torch.testing.assert_close(loss, wanted / 6)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"settings": {"ensemble.trainer": {"seed": 1}}}, "ensemble.trainer.seed"),
        ({"reward": ["a", "b"], "model": "c"}, "no ensemble is trained"),
        ({"reward": ["a", "b"], "settings": {"ensemble.heads": 3}}, "no ensemble is trained"),
        ({"settings": {"treat.incorect": "flip"}}, "did you mean `treat.incorrect`"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        strength(ROWS, out=tmp_path / "out", **given)


def test_one_reward_model_is_no_ensemble(judges: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one reward model cannot disagree"):
        strength(ROWS, reward=judges[:1], out=tmp_path / "out")


def test_bad_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 1: there is no rejected response"):
        strength([{"prompt": "a", "response": "b"}], out=tmp_path / "out")


def test_the_command_line(base: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    named = [{"q": row["prompt"], **{n: row[n] for n in ("chosen", "rejected")}} for row in ROWS]
    lines = [json.dumps(row) + "\n" for row in named]
    file.write_text("".join([*lines, '{"q": "", "chosen": "a", "rejected": "b"}\n']))
    command = ["strength", file, "--model", base, "--out", tmp_path / "out", "--heads", "2"]
    command += ["--column", "prompt=q", "--bad-rows", tmp_path / "bad.jsonl"]
    result = CliRunner().invoke(main, [*map(str, command), "--ambiguous", "drop", "--margin"])
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "20 pairs, 2 votes each" in said
    assert "field 'q' is empty" in (tmp_path / "bad.jsonl").read_text()
    assert str(tmp_path / "out" / "pairs.parquet") in said.replace(" ", "")
