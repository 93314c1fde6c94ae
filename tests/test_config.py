"""Settings from YAML and flags: typed, and a mistake is named with the key that was meant."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.config import Config, TrainConfig, load_config
from seamaug.config.load import load_section
from seamaug.errors import ConfigError
from seamaug.resources import resource
from seamaug.units import Spend

RECIPES = sorted(resource("configs").glob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(path: Path | str | None, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


def test_defaults_are_the_issue_s() -> None:
    config = load_config()
    assert config.budget == 10_000
    assert config.select.share == 0.2
    assert (config.score.contrast.low, config.score.contrast.high) == (0.8, 0.9)
    assert (config.score.estimators, config.score.samples) == (("contrast",), 30)
    assert config.score.weighting == "prob"
    assert config.keep.hack_set_size == 8
    assert not config.policy.trust_remote_code


def test_units_are_read_in_yaml(tmp_path: Path) -> None:
    path = written(tmp_path, "budget: 10k\nmax_time: 2h\nselect: {share: 25%}\n")
    config = load_config(path)
    assert (config.budget, config.max_time, config.select.share) == (10_000, 7200, 0.25)


def test_sections_are_read_and_the_rest_keeps_its_default(tmp_path: Path) -> None:
    path = written(
        tmp_path, "score:\n  weighting: paper\n  samples: 5\n  contrast: {low: 0.5}\nseed: 3\n"
    )
    config = load_config(path)
    assert (config.score.weighting, config.score.samples, config.seed) == ("paper", 5, 3)
    assert (config.score.contrast.low, config.score.contrast.high) == (0.5, 0.9)


def test_an_override_of_none_counts(tmp_path: Path) -> None:
    config = load_config(None, {"keep.saturation": None})
    assert config.keep.saturation is None
    assert load_config().keep.saturation is not None


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "# nothing yet\n")) == Config()


@pytest.mark.parametrize(
    ("text", "unknown", "meant"),
    [
        ("bugdet: 5", "`bugdet`", "did you mean `budget`?"),
        ("selekt: {share: 20%}", "`selekt`", "did you mean `select`?"),
        ("policy: {nam: x}", "`policy.nam`", "did you mean `policy.name`?"),
        ("score: {contrast: {hihg: 1}}", "`score.contrast.hihg`", "`score.contrast.high`?"),
        ("generate: {per_paren: 3}", "`generate.per_paren`", "did you mean `generate.per_parent`"),
        ("zzzzzz: 1", "`zzzzzz`", "known keys: seeds, policy, reward"),
        ("keep: {zzzzzz: 1}", "`keep.zzzzzz`", "known keys: rule, share"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    tmp_path: Path, text: str, unknown: str, meant: str
) -> None:
    path = written(tmp_path, text)
    said = message(path)
    assert said.startswith(f"{path}: unknown key {unknown}")
    assert meant in said
    assert "\n" not in said


def test_every_mistake_is_listed(tmp_path: Path) -> None:
    said = message(written(tmp_path, "bugdet: 1\nseed: x\nkeep: {margin: -1}\n"))
    assert len(said.splitlines()) == 3
    assert "`bugdet`" in said
    assert "`seed`" in said
    assert "`keep.margin`" in said


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("budget: 0", "`budget`", "below one example"),
        ("budget: -3", "`budget`", "not a number of examples"),
        ("budget: lots", "`budget`", "such as 500, 10k or 1.5M"),
        ("budget: true", "`budget`", "not a number of examples"),
        ("select: {share: 30}", "`select.share`", "out of range"),
        ("max_time: soon", "`max_time`", "such as 90s"),
        ("seed: 1.5", "`seed`", "valid integer"),
        ("score: {weighting: papr}", "`score.weighting`", "'prob' or 'paper'"),
        ("policy: my-model", "`policy`", "valid dictionary"),
        ("policy:", "`policy`", "valid dictionary"),
        ("policy: {batch_tokens: 0}", "`policy.batch_tokens`", "greater than or equal to 1"),
        ("generator: {top_p: 2}", "`generator.top_p`", "less than or equal to 1"),
        ("generate: {worse: [rubbish]}", "`generate.worse.0`", "'given'"),
        ("seeds: {columns: {promt: q}}", "`seeds.columns.promt", "'prompt', 'golden' or 'worse'"),
        ("1: 2", "`1`", "strings"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(
    tmp_path: Path, text: str, key: str, said: str
) -> None:
    found = message(written(tmp_path, text))
    assert key in found
    assert said in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "not a list"),
        ("just text", "not a str"),
        ("42", "not a int"),
        ("a: [1", "not valid YAML"),
        ("a: 1\n\tb: 2", "not valid YAML"),
        ("\x00", "not valid YAML"),
        ("budget: 2024-13-45", "not valid YAML"),  # a date that does not exist
        ("budget: " + "9" * 5000, "not valid YAML"),  # more digits than Python converts
        ("[" * 3000, "not valid YAML"),
    ],
    ids=lambda value: value[:12],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    found = message(path)
    assert found.startswith(str(path))
    assert said in found


def test_invalid_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"budget: \xff\n")
    assert "not valid YAML" in message(path)


@pytest.mark.parametrize("name", ["missing.yaml", "x" * 300])
def test_a_missing_file_is_named_with_the_shipped_recipes(tmp_path: Path, name: str) -> None:
    said = message(tmp_path / name)
    assert f"{tmp_path / name} does not exist" in said
    assert "paper, small" in said


def test_there_are_recipes() -> None:
    assert {"small", "paper"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_found_by_name(path: Path) -> None:
    config = load_config(path.stem)
    assert config == load_config(path)
    assert config != Config()
    for key in yaml.safe_load(path.read_text(encoding="utf-8")):
        assert key in Config.model_fields


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engine: server", "`engine: server` needs `url`, such as http://127.0.0.1:8000/v1"),
        ("url: http://x/v1", "does not read `url`; remove it, or set `engine: server`"),
        ("{engine: vllm, url: http://x/v1}", "does not read `url`"),
        ("served_name: x", "does not read `served_name`"),
        ("api_key_env: KEY", "does not read `api_key_env`"),
        ("engine_options: {a: 1}", "does not read `engine_options`; remove it, or set `engine: vl"),
        (
            "{engine: server, url: http://x/v1, engine_options: {a: 1}}",
            "`engine: server` does not read `engine_options`",
        ),
        ("{engine: vllm, device: cuda}", "does not read `device`; remove it, or choose the device"),
        ("{engine: server, url: http://x/v1, dtype: float16}", "start the server with --dtype"),
        ("{engine: server, url: 127.0.0.1:8000}", "`url` must be like http://127.0.0.1:8000/v1"),
        ("{engine: server, url: 'http://'}", "`url` must be like"),
        ("{engine: vllm, engine_options: {dtype: half}}", "`engine_options.dtype` follows from"),
        ("engine: vlm", "'transformers', 'vllm' or 'server'"),
    ],
)
@pytest.mark.parametrize("role", ["policy", "reward"])
def test_a_setting_that_the_engine_would_not_read_is_refused(
    tmp_path: Path, role: str, text: str, said: str
) -> None:
    section = text if text.startswith("{") else f"{{{text}}}"
    found = message(written(tmp_path, f"{role}: {section}"))
    assert f"`{role}" in found
    assert said in found


def test_each_engine_takes_its_settings(tmp_path: Path) -> None:
    text = """
policy: {engine: server, url: 'http://gpu:8000/v1', served_name: sft, api_key_env: KEY_1}
reward: {engine: vllm, engine_options: {tensor_parallel_size: 2}, dtype: float16}
"""
    config = load_config(written(tmp_path, text))
    assert (config.policy.engine, config.policy.served_name) == ("server", "sft")
    assert config.reward.engine_options == {"tensor_parallel_size": 2}
    assert load_config().policy.engine == "transformers"


@pytest.mark.parametrize(
    "text",
    [
        "{engine: server, url: 'http://x/v1', api_key_env: sk-SECRET}",
        "{engine: server, api_key_env: SECRET}",
        "{engine: server, url: 'http://me:SECRET@x/v1'}",
        "{engine: server, url: 'http://x/v1?token=SECRET'}",
        "{engine: server, url: 'http://x/v1', api_key: SECRET}",
        "{engine: vllm, engine_options: {hf_token: SECRET}}",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(tmp_path: Path, text: str) -> None:
    found = message(written(tmp_path, f"policy: {text}"))
    assert "SECRET" not in found
    assert "`policy" in found


def test_nor_is_one_among_the_trainer_s_arguments(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_section(TrainConfig, written(tmp_path, "trainer: {hub_token: SECRET}"))
    assert "`trainer.hub_token` would be stored with the model" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_operators_of_one_s_own_need_an_llm(tmp_path: Path) -> None:
    found = message(written(tmp_path, "generate: {operators_from: mine}"))
    assert "`generate.operators_from` need an LLM: give `generator.name`" in found
    own = "generate: {operators_from: mine}\ngenerator: {name: some-llm}\n"
    assert load_config(written(tmp_path, own)).generate.operators_from == "mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{engine: server, name: m}", "`engine: server` needs `url`"),
        ("{in_flight: 8}", "does not read `in_flight`; remove it, or set `engine: server`"),
        ("{engine: vllm, timeout: 10s}", "does not read `timeout`"),
        ("{engine: server, url: http://x/v1, batch_tokens: 8}", "does not read `batch_tokens`"),
        ("{engine: server, url: http://x/v1, chat_template: t}", "does not read `chat_template`"),
        ("{engine: server, url: http://x/v1, device: cuda}", "does not read `device`"),
        ("{structured: true}", "does not read `structured`; remove it, or set `engine: vllm`"),
        (
            "{engine: server, url: http://x/v1, engine_options: {n: 2}}",
            "`engine_options.n` foll",
        ),
        ("{price_in: 1}", "give both `price_in` and `price_out`, or neither"),
        ("{price_in: -1, price_out: 1}", "greater than or equal to 0"),
        ("{engine: server, url: http://x/v1, timeout: soon}", "such as 90s, 30m"),
    ],
)
def test_a_generator_s_setting_that_nothing_reads_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in message(written(tmp_path, f"generator: {text}"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_tokens: 2M", "`max_tokens` limits what an LLM writes, and there is none: give"),
        ("{max_cost: 3, generator: {name: m}}", "`max_cost` needs `generator.price_in` and"),
        (
            "budget: 5M tokens",
            "`budget: 5000000 tokens` is spent on an LLM, and there",
        ),
        ("budget: $20", "`budget: 20 USD` is spent on an LLM, and there is none: give"),
        ("{budget: 20 USD, generator: {name: m}}", "`budget: 20 USD` needs `generator.price_in`"),
        ("{max_tokens: 0, generator: {name: m}}", "below one token: write a number of tokens"),
        ("{max_cost: 0, generator: {name: m, price_in: 1, price_out: 1}}", "greater than 0"),
    ],
)
def test_a_limit_that_could_not_be_kept_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in message(written(tmp_path, text))


def test_a_generator_on_a_hosted_server(tmp_path: Path) -> None:
    text = """
max_tokens: 2M
max_cost: 20
generator: {name: some-llm, engine: server, url: 'https://api.example.com/v1', api_key_env: KEY,
  in_flight: 128, timeout: 2m, attempts: 3, price_in: 0.15, price_out: 0.6,
  engine_options: {seed: null}}
"""
    config = load_config(written(tmp_path, text))
    assert (config.max_tokens, config.max_cost) == (2_000_000, 20)
    assert (config.generator.in_flight, config.generator.timeout) == (128, 120)


@pytest.mark.parametrize(
    ("text", "spend"), [("5M tokens", Spend(tokens=5_000_000)), ("$0.5", Spend(cost=0.5))]
)
def test_a_budget_may_be_what_to_spend(tmp_path: Path, text: str, spend: Spend) -> None:
    own = f"budget: {text}\ngenerator: {{name: m, price_in: 1, price_out: 1}}\n"
    config = load_config(written(tmp_path, own))
    assert config.budget == spend
    stored = config.model_dump(mode="json")
    assert stored["budget"] == str(spend)
    assert Config.model_validate(json.loads(json.dumps(stored))) == config
    assert load_config(None).model_dump(mode="json")["budget"] == 10_000


def test_overrides_go_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "budget: 5\npolicy: {name: a, batch_tokens: 7}\nseed: 1\n")
    config = load_config(path, {"policy.name": "b", "budget": "2k"})
    assert (config.policy.name, config.policy.batch_tokens) == ("b", 7)
    assert (config.budget, config.seed) == (2000, 1)


def test_an_override_leaves_a_role_alone_that_shares_an_alias(tmp_path: Path) -> None:
    path = written(tmp_path, "policy: &shared {name: a, batch_tokens: 7}\nreward: *shared\n")
    config = load_config(path, {"policy.name": "b"})
    assert (config.policy.name, config.reward.name) == ("b", "a")
    assert config.policy.batch_tokens == config.reward.batch_tokens == 7


def test_an_override_below_what_is_no_section_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "policy: my-model\n")
    assert message(path, {"policy.name": "x"}) == (
        f"{path}: `policy` must be a section with keys of its own"
    )
    assert message(None, {"policy": "x", "policy.name": "y"}).startswith("`policy` must be")


def test_an_unknown_override_is_named_without_a_file() -> None:
    said = message(None, {"select.shar": 0.1})
    assert said == "unknown key `select.shar`; did you mean `select.share`?"


def test_a_config_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config().budget = 3  # type: ignore[misc]


KEYS = st.sampled_from(["budget", "score", "contrast", "seeds", "columns", "paths", "policy", "x"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(KEYS, st.integers()), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None, database=None, max_examples=200, derandomize=True)
@given(st.one_of(VALUES.map(yaml.safe_dump), st.text(max_size=60)))
def test_any_text_is_a_config_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text.encode("utf-8", "replace"))
    said = ""
    try:
        config = load_config(path, {"policy.name": "p"})
        assert config.policy.name == "p"
    except ConfigError as error:
        said = str(error)
    assert not said or str(path) in said


@pytest.mark.parametrize("engine", ["server", "vllm"])
def test_an_engine_without_a_generator_is_refused(engine: str) -> None:
    url = {"generator.url": "http://127.0.0.1:1/v1"} if engine == "server" else {}
    with pytest.raises(ConfigError, match="needs `name`"):
        load_config(None, {"generator.engine": engine, **url})


def test_what_sections_ask_of_each_other_is_said_without_a_key() -> None:
    with pytest.raises(ConfigError, match=r"^`max_cost` limits what an LLM writes"):
        load_config(None, {"max_cost": 5})
