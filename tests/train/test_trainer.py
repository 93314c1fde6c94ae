"""The trainer's steps against TRL's own, against the pure losses, and against explicit copies."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

from seamaug.config import ContrastiveConfig, MetaConfig
from seamaug.errors import ConfigError
from seamaug.train.losses import difference_objective, preference_loss, simcse_loss, swav_loss
from seamaug.train.policy_samples import PolicySamples
from seamaug.train.trainer import PairCollator, RobustRewardTrainer, features_of

PAD = 0
ROWS = [
    {"chosen_ids": [5, 6, 7, 8 + i], "rejected_ids": [5, 6, 9 + i][: 2 + i % 2]} for i in range(8)
]
SAMPLES = [[[5, 6, 20 + i], [5, 6, 30 + i, 7], [5, 6, 40]] for i in range(4)]


@pytest.fixture(scope="module")
def reward(saved: Callable[..., str]) -> str:
    return saved("llama", "reward", initializer_range=0.2)


def make_trainer(
    kind: Any, reward: str, out: Path, rows: list[dict[str, Any]] = ROWS, **given: Any
) -> Any:
    model = AutoModelForSequenceClassification.from_pretrained(reward, dtype=torch.float32)
    arguments = RewardConfig(
        str(out),
        max_steps=given.pop("max_steps", 3),
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        max_length=None,
        **given.pop("arguments", {}),
    )
    return kind(
        model,
        arguments,
        data_collator=PairCollator(pad_token_id=PAD),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(reward),
        **given,
    )


def batch_of(trainer: Any) -> dict[str, Any]:
    return dict(next(iter(trainer.get_train_dataloader())))


def one_step(trainer: Any, batch: dict[str, Any]) -> None:
    trainer.current_gradient_accumulation_steps = 1  # which `train` sets
    trainer.training_step(trainer.model, dict(batch))


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert a
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], msg=name)


@pytest.mark.parametrize("margins", [False, True])
def test_without_settings_it_is_trls_trainer(reward: str, tmp_path: Path, margins: bool) -> None:
    rows = [{**row, "margin": i / 4} for i, row in enumerate(ROWS)] if margins else ROWS
    trained = []
    for kind in (RewardTrainer, RobustRewardTrainer):
        trainer = make_trainer(kind, reward, tmp_path / kind.__name__, rows)
        trainer.train()
        trained.append(trainer.model.state_dict())
    assert_same(*trained)


def test_smoothing_and_margin_are_the_pure_loss(reward: str, tmp_path: Path) -> None:
    rows = [{**row, "margin": i / 4 - 1, "smoothing": i / 10} for i, row in enumerate(ROWS)]
    trainer = make_trainer(RobustRewardTrainer, reward, tmp_path, rows)
    batch = batch_of(trainer)
    texts = {name: batch[name] for name in ("input_ids", "attention_mask")}
    trainer.model.train()
    scores = trainer.model(**texts).logits.squeeze(-1)
    wanted = preference_loss(scores[:4] - scores[4:], batch["margin"], batch["smoothing"])
    assert batch["smoothing"].unique().numel() == 4
    torch.testing.assert_close(trainer.compute_loss(trainer.model, dict(batch)), wanted)


def test_evaluation_has_no_contrastive_term(reward: str, tmp_path: Path) -> None:
    plain = make_trainer(RobustRewardTrainer, reward, tmp_path)
    ours = make_trainer(
        RobustRewardTrainer, reward, tmp_path, contrastive=ContrastiveConfig(method="simcse")
    )
    batch = batch_of(plain)
    losses = []
    for trainer in (plain, ours):
        trainer.model.eval()
        losses.append(trainer.compute_loss(trainer.model, dict(batch)))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("on", ["features", "differences"])
@pytest.mark.parametrize("method", ["simcse", "swav"])
def test_the_contrastive_term_compares_two_dropout_views(
    reward: str, tmp_path: Path, method: Any, on: Any
) -> None:
    own = ContrastiveConfig(method=method, on=on, beta=0.7)
    trainer = make_trainer(RobustRewardTrainer, reward, tmp_path, contrastive=own)
    batch = batch_of(trainer)
    trainer.model.train()
    torch.manual_seed(5)
    loss = trainer.compute_loss(trainer.model, dict(batch))

    torch.manual_seed(5)
    views, scores = [], []
    for _ in range(2):
        with features_of(trainer.head) as seen:
            scores.append(trainer.model(**batch).logits.squeeze(-1))
        ends = batch["attention_mask"].sum(1) - 1
        views.append(seen[0][torch.arange(8), ends])
    assert not torch.equal(*views)
    if on == "differences":
        views = [torch.cat([v[:4] - v[4:], v[4:] - v[:4]]) for v in views]
    term = simcse_loss(*views) if method == "simcse" else swav_loss(*views, trainer.head.prototypes)
    wanted = preference_loss(scores[0][:4] - scores[0][4:]) + 0.7 * term
    torch.testing.assert_close(loss, wanted)


def test_published_weights_and_prototypes() -> None:
    def of(method: Any, on: Any) -> tuple[float, int]:
        own = ContrastiveConfig(method=method, on=on)
        return own.weight, own.clusters

    assert of("simcse", "features")[0] == of("simcse", "differences")[0] == 1
    assert of("swav", "features") == (0.1, 50)
    assert of("swav", "differences") == (0.5, 20)


def test_prototypes_are_trained_with_the_model(reward: str, tmp_path: Path) -> None:
    own = ContrastiveConfig(method="swav", prototypes=6)
    trainer = make_trainer(RobustRewardTrainer, reward, tmp_path, contrastive=own)
    before = trainer.head.prototypes.detach().clone()
    assert before.shape == (6, trainer.head.in_features)
    trainer.train()
    assert not torch.equal(before, trainer.head.prototypes)


def test_meta_step_is_that_of_two_copies(reward: str, tmp_path: Path) -> None:
    """MetaRM with an explicit second model: ascend J on it, take the pairs' gradient there."""
    eta = 0.3
    samples = PolicySamples(SAMPLES, PAD, seed=1)
    trainer = make_trainer(
        RobustRewardTrainer, reward, tmp_path, meta=MetaConfig(step=eta), policy_samples=samples
    )
    batch = batch_of(trainer)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}

    moved = copy.deepcopy(trainer.model).train()
    rewards = moved(**samples.batch(0, 8 // 3)).logits.view(2, 3)
    difference_objective(rewards).backward()
    with torch.no_grad():
        for weight in moved.parameters():
            if weight.grad is not None:
                weight += eta * weight.grad
                weight.grad = None
    scores = moved(**batch).logits.squeeze(-1)
    preference_loss(scores[:4] - scores[4:]).backward()

    one_step(trainer, batch)
    assert_same(gradients(trainer.model), gradients(moved))
    for name, weight in trainer.model.named_parameters():
        assert torch.equal(weight, before[name]), name  # exactly: nothing is subtracted again
    plain = make_trainer(RobustRewardTrainer, reward, tmp_path / "plain")
    one_step(plain, batch)
    own, other = gradients(trainer.model), gradients(plain.model)
    assert any(not torch.allclose(own[name], other[name], rtol=1e-2) for name in own)


def test_meta_step_leaves_the_weights_alone_when_a_step_fails(reward: str, tmp_path: Path) -> None:
    trainer = make_trainer(
        RobustRewardTrainer,
        reward,
        tmp_path,
        meta=MetaConfig(step=0.1),
        policy_samples=PolicySamples(SAMPLES, PAD, seed=1),
    )
    before = [p.detach().clone() for p in trainer.model.parameters()]
    batch = batch_of(trainer)
    del batch["attention_mask"]
    with pytest.raises(KeyError):
        trainer.training_step(trainer.model, batch)
    assert all(map(torch.equal, before, trainer.model.parameters()))


def test_a_step_of_the_objective_tells_samples_apart_better(reward: str, tmp_path: Path) -> None:
    samples = PolicySamples(SAMPLES, PAD, seed=1)
    trainer = make_trainer(
        RobustRewardTrainer, reward, tmp_path, meta=MetaConfig(step=0.05), policy_samples=samples
    )
    batch = samples.batch(0, 2)

    def objective() -> float:
        with torch.no_grad():
            return float(difference_objective(trainer.model(**batch).logits.view(2, 3)))

    before = objective()
    with trainer._told_apart(trainer.model, rows=8):
        assert objective() > before
    assert objective() == before


def test_policy_samples_come_in_shuffled_passes() -> None:
    rows = [[[i], [i, i]] for i in range(1, 6)]
    samples = PolicySamples(rows, pad=0, seed=3)
    first = [samples.batch(n, 1)["input_ids"][0, 0].item() for n in range(10)]
    assert sorted(first[:5]) == sorted(first[5:]) == [1, 2, 3, 4, 5]
    assert first[:5] != first[5:]
    again = PolicySamples(rows, pad=0, seed=3)
    assert torch.equal(again.batch(3, 2)["input_ids"], samples.batch(3, 2)["input_ids"])
    batch = samples.batch(0, 2)
    assert batch["input_ids"].shape == (4, 2)
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]] * 2


def test_meta_without_samples_is_refused(reward: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="policy_samples"):
        make_trainer(RobustRewardTrainer, reward, tmp_path, meta=MetaConfig(step=0.1))
