"""What a plan says that the LLM is asked is what a run asks it, whatever the config."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamaug.api import expand, plan
from seamaug.config import load_config
from seamaug.models.engines import Reply, Request
from seamaug.models.policy import Policy
from seamaug.plan_requests import (
    Asked,
    Sampled,
    asked_in_a_run,
    asked_of_a_candidate,
    asked_of_a_parent,
    sampled_in_a_run,
)
from seamaug.resources import resource

MODEL = str(resource("embedded", "policy"))
SMALL = {
    "select.top": 5,
    "score.samples": 4,
    "generate.policy_max_new_tokens": 4,
    "score.on_policy.max_new_tokens": 4,
    "generate.per_parent": 1,
    "generate.operators": ["closing"],
}


@pytest.fixture
def engine(has_writer: Callable[[Any], None], scripted: Any, asked: Any) -> Any:
    """An LLM that writes what is taken, and as much of it as was asked for."""

    def respond(request: Request) -> Reply | str:
        own = asked(request)
        texts = [f"Zebra {request.seed} {i}." for i in range(own.answers)]
        return own.reply(response=texts, request=f"{own.texts.get('REQUEST')} Now.", better="A")

    found = scripted(respond)
    has_writer(found)
    return found


def config(**settings: Any) -> Any:
    return load_config(None, {"generator.name": "some-llm", **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"generate.worse": ["given", "scored"]},
        {"generate.worse": ["llm"], "generate.llm_worse": 3, "generate.golden_rewrites": 2},
        {"generate.worse": ["llm", "scored"], "verify.worse.by": "judge"},
        {"score.estimators": ["contrast", "llm"], "score.llm.per_call": 3},
    ],
    ids=str,
)
def test_a_plan_asks_as_often_as_a_run_does(
    bundled: Callable[[int], Any], engine: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    own = SMALL | settings
    rows = bundled(8)
    planned = plan(rows, generator=MODEL, budget=1, settings=own)
    expand(rows, generator=MODEL, budget=1, out=tmp_path / "run", settings=own)
    limit = planned.written / load_config(None).generator.max_new_tokens
    texts = sum(request.max_new_tokens for request in engine.asked) / 256
    assert (planned.generator_calls, limit) == (len(engine.asked), texts)


@pytest.mark.parametrize(
    "settings",
    [
        {"score.estimators": ["contrast", "on-policy"]},
        {"generate.worse": ["given"]},
    ],
    ids=str,
)
def test_a_plan_counts_what_the_policy_is_asked_to_say(
    bundled: Callable[[int], Any],
    engine: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: dict[str, Any],
) -> None:
    own = SMALL | settings
    rows = bundled(8)
    planned = plan(rows, generator=MODEL, budget=1, settings=own)
    said: Counter[int] = Counter()
    sample = Policy.sample

    def counted(self: Policy, prompts: Any, **how: Any) -> Any:
        said[how["n"]] += len(prompts)
        return sample(self, prompts, **how)

    monkeypatch.setattr(Policy, "sample", counted)
    expand(rows, generator=MODEL, budget=1, out=tmp_path / "run", settings=own)
    steps = [step for step in planned.steps if step.stage.startswith("sample ")]
    assert sum(step.calls for step in steps) == sum(n * prompts for n, prompts in said.items())
    assert all(step.tokens > step.calls and step.seconds > 0 for step in steps)


def test_a_changed_answer_is_asked_of_the_policy_too() -> None:
    def of(**settings: Any) -> list[Sampled]:
        own = config(**{"generate.policy_max_new_tokens": 5, **settings})
        return sampled_in_a_run(own, 10, 4, 100, looks_ahead=False)

    parents = Sampled("sample parents", 4, 2, 5)
    changing = {"generate.operators": ["closing", "formal", "change_entity"]}
    assert of(**changing) == [parents, Sampled("sample candidates", 25, 2, 5)]
    assert of(**{"generate.operators": ["closing", "formal"]}) == [parents]
    assert of(**changing, **{"generate.worse": ["given"]}) == []
    assert of(**changing, **{"generator.name": "embedded"}) == [parents]


def test_what_makes_no_difference_is_not_counted() -> None:
    assert asked_of_a_parent(config()) == Asked(3, 3)
    assert asked_of_a_parent(config(**{"generate.worse": ["policy"]})) == Asked(1, 1)
    judged = {"verify.worse.by": "judge"}
    assert asked_of_a_parent(config(**judged)) == Asked(3 + 8, 3 + 8)
    assert asked_of_a_parent(config(**judged, **{"generate.worse": ["llm"]})) == Asked(7, 7)
    assert asked_of_a_parent(config(**judged, **{"generate.worse": ["policy"]})) == Asked(5, 5)
    assert asked_in_a_run(load_config(None), 100, 20, 1000) == Asked(0, 0)


def test_a_changed_answer_is_written_with_its_request_and_judged() -> None:
    def of(*operators: str, **settings: Any) -> Asked:
        return asked_of_a_candidate(config(**{"generate.operators": operators, **settings}))

    assert of("closing") == Asked(0, 0)
    assert of("formal") == Asked(1, 1)
    assert of("formal", "closing") == Asked(0.5, 0.5)
    assert of("change_entity") == Asked(1 + 2, 2 + 2)
    assert of("formal", "change_entity") == Asked(2, 2.5)
    judged = {"verify.worse.by": "judge", "keep.hack_set_size": 4}
    assert of("change_entity", **judged) == Asked(3 + 4, 4 + 4)  # 2 samples
    assert of("change_entity", **judged, **{"generate.worse": ["given"]}) == Asked(3 + 8, 4 + 8)
    assert asked_in_a_run(config(), 10, 2, 0) == Asked(6, 6)
