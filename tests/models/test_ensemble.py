"""mu and sigma by hand, and the votes of several reward models in one folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from seamaug.config import RewardConfig
from seamaug.errors import ModelError
from seamaug.models.ensemble import Comparison, Ensemble, strength
from seamaug.models.load import load_reward, load_voter
from seamaug.models.tokens import VOTES
from seamaug.records import user_message

MARGINS = np.array([[1.0, 3.0], [-2.0, -2.0], [0.5, -0.5], [4.0, 5.0]])
CASES = [
    Comparison(user_message("Is it so?"), "yes it is", ["no", "it never was so"]),
    Comparison(user_message("And now?"), "no", []),
    Comparison(user_message("1 + 1?"), "two", ["three of them"]),
]


def test_mu_and_sigma_by_hand() -> None:
    found = strength(MARGINS)
    np.testing.assert_allclose(found.mu, [2, -2, 0, 4.5])
    np.testing.assert_allclose(found.sigma, [1, 0, 0.5, 0.5])  # over M, not M - 1
    assert found.votes.tolist() == [2, 2, 2, 2]
    assert found.agrees(1.0).tolist() == [True, False, False, True]
    assert found.agrees(1.0, margin=1.0).tolist() == [False, False, False, True]
    assert found.agrees(2.0).tolist() == [False, False, False, True]
    assert found.contradicts(1.0).tolist() == [False, True, False, False]


def test_missing_votes_are_left_out() -> None:
    margins = MARGINS.copy()
    margins[0, 1] = margins[2] = np.nan
    found = strength(margins)
    np.testing.assert_allclose(found.mu, [1, -2, 0, 4.5])
    np.testing.assert_allclose(found.sigma, [0, 0, 0, 0.5])
    assert found.votes.tolist() == [1, 2, 0, 2]
    assert not found.agrees(1.0)[2]
    assert not found.contradicts(1.0)[2]


@pytest.fixture(scope="module", params=["llama", "bert"])
def heads(
    request: pytest.FixtureRequest,
    saved: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A folder with three reward models that share a backbone, as `strength` writes one."""
    source = saved(request.param, "reward")
    folder = tmp_path_factory.mktemp("heads") / request.param
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=3, ignore_mismatched_sizes=True
    )
    torch.nn.init.normal_(_last(model).weight, std=1.0)
    setattr(model.config, VOTES, 3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)


def _last(model: torch.nn.Module) -> torch.nn.Linear:
    layer = next(m for m in reversed(list(model.modules())) if isinstance(m, torch.nn.Linear))
    assert layer.out_features == 3
    return layer


def test_heads_vote_as_reward_models_of_their_own(heads: str, tmp_path: Path) -> None:
    config = RewardConfig(name=heads, device="cpu", dtype="float32")
    found = Ensemble([load_voter(config)]).margins(CASES)
    assert [own.shape for own in found] == [(2, 3), (0, 3), (1, 3)]
    for number in range(3):
        alone = tmp_path / str(number)
        shutil.copytree(heads, alone)
        model = AutoModelForSequenceClassification.from_pretrained(heads)
        layer = _last(model)
        layer.weight = torch.nn.Parameter(layer.weight[number : number + 1].clone())
        if layer.bias is not None:
            layer.bias = torch.nn.Parameter(layer.bias[number : number + 1].clone())
        layer.out_features = 1
        model.config.num_labels = 1
        setattr(model.config, VOTES, 1)
        model.save_pretrained(alone)
        single = Ensemble([load_voter(config.like(str(alone)))]).margins(CASES)
        for own, wanted in zip(found, single, strict=True):
            np.testing.assert_allclose(own[:, [number]], wanted, atol=1e-4)


def test_votes_of_several_members_stand_side_by_side(heads: str) -> None:
    config = RewardConfig(name=heads, device="cpu", dtype="float32")
    one, two = load_voter(config), load_reward(RewardConfig())
    found = Ensemble([one, two]).margins(CASES)
    assert [own.shape for own in found] == [(2, 4), (0, 4), (1, 4)]
    np.testing.assert_array_equal(found[2][:, 3:], Ensemble([two]).margins(CASES)[2])


def test_what_a_head_cannot_read_is_no_vote(heads: str) -> None:
    config = RewardConfig(name=heads, device="cpu", dtype="float32", max_length=40)
    (found,) = Ensemble([load_voter(config)]).margins(
        [Comparison(user_message("Hi"), "yes", ["word " * 60, "no"])]
    )
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_an_ensemble_is_no_reward_model_to_test(heads: str) -> None:
    with pytest.raises(ModelError, match=r"has 3 labels.*an ensemble of `strength` can only be"):
        load_reward(RewardConfig(name=heads))


def test_a_classifier_of_several_classes_is_no_ensemble(
    saved: Callable[..., str], tmp_path: Path
) -> None:
    source = saved("llama", "reward")
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=3, ignore_mismatched_sizes=True
    )
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has 3 labels; SEAM needs one score per response"):
        load_voter(RewardConfig(name=str(tmp_path)))
