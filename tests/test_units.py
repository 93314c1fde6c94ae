"""Budgets, durations and shares: what people type becomes a number or one clear message."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.errors import ConfigError
from seamaug.units import (
    Spend,
    human_count,
    human_seconds,
    parse_budget,
    parse_duration,
    parse_share,
    parse_tokens,
)

fuzz = settings(deadline=None, database=None, max_examples=300, derandomize=True)
NEAR_MISSES = st.text("0123456789.,+-_eEkKmMhsd%$ \t\n\u0663\u2126x", max_size=400)
AMOUNTS = st.from_regex(r"\$?[0-9.]{1,20} ?[kKmMgG]? ?(tokens?|USD|usd)?", fullmatch=True)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.lists(st.integers()))
ANYTHING = st.one_of(st.text(max_size=50), NEAR_MISSES, SCALARS)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("500", 500),
        ("10k", 10_000),
        ("10K", 10_000),
        ("1.5M", 1_500_000),
        ("1.1k", 1_100),  # 1.1 * 1000 is not exact in binary
        (" 2 m ", 2_000_000),
        (".5k", 500),
        (7, 7),
        ("1", 1),
        ("9007199254740992", 2**53),
    ],
)
def test_budget(text: str | int, count: int) -> None:
    assert parse_budget(text) == count


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "below one"),
        ("0k", "below one"),
        (0, "below one"),
        (-1, "not a number"),
        ("-1", "not a number"),
        ("abc", "not a number"),
        ("", "not a number"),
        ("10kk", "not a number"),
        ("10 000", "not a number"),
        ("1e3", "not a number"),
        ("nan", "not a number"),
        ("\u0663", "not a number"),  # an Arabic digit, which float() would take
        ("1.5", "whole number"),
        ("1.0005k", "whole number"),
        (True, "not a number"),
        ("9" * 400, "too large"),
    ],
)
def test_bad_budget_says_what_to_write(text: str | int, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_budget(text)
    assert "such as 500, 10k or 1.5M" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "spend", "written"),
    [
        ("5M tokens", Spend(tokens=5_000_000), "5000000 tokens"),
        ("5Mtokens", Spend(tokens=5_000_000), "5000000 tokens"),
        (" 1.5 k Tokens ", Spend(tokens=1500), "1500 tokens"),
        ("1 token", Spend(tokens=1), "1 tokens"),
        ("20 USD", Spend(cost=20.0), "20 USD"),
        ("20usd", Spend(cost=20.0), "20 USD"),
        ("$20", Spend(cost=20.0), "20 USD"),
        ("$ .5", Spend(cost=0.5), "0.5 USD"),
        ("1234567.89 USD", Spend(cost=1234567.89), "1234567.89 USD"),
        (Spend(cost=0.000001), Spend(cost=0.000001), "0.000001 USD"),
    ],
)
def test_budget_to_spend(text: str, spend: Spend, written: str) -> None:
    assert parse_budget(text) == spend
    assert str(spend) == written
    assert parse_budget(written) == spend


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 tokens", "below one token: write a number of tokens such as 5M tokens"),
        ("1.5 tokens", "whole number of tokens"),
        ("9" * 400 + " tokens", "too large"),
        ("0 USD", "such as 20 USD"),
        ("0.0000001 USD", "such as 20 USD"),
        ("9" * 400 + " USD", "such as 20 USD"),
        ("-1 USD", "or 5M tokens or 20 USD"),
        ("20 EUR", "or 5M tokens or 20 USD"),
        ("lots of tokens", "or 5M tokens or 20 USD"),
        ("tokens", "or 5M tokens or 20 USD"),
    ],
)
def test_bad_budget_to_spend_says_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_budget(text)
    assert len(str(caught.value)) < 200


def test_tokens() -> None:
    assert [parse_tokens(text) for text in ("500k", "2M", "1.5G", 7)] == [
        500_000,
        2_000_000,
        1_500_000_000,
        7,
    ]
    with pytest.raises(ConfigError, match="'lots' is not a number of tokens: write a number of"):
        parse_tokens("lots")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1 h 30 m", 5400),
        ("1D", 86400),
        ("0.5h", 1800),
        ("45", 45),
        (45, 45),
        (1.5, 1.5),
    ],
)
def test_duration(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "abc", "0", "0s", "-5", "5x", "1h30", "1.5.5h", "1h-30m", "5ms", "inf", "9" * 400],
)
def test_bad_duration_says_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 90s, 30m, 2h or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "share"),
    [("20%", 0.2), ("0.2", 0.2), (0.2, 0.2), ("99.9 %", 0.999), (".5", 0.5)],
)
def test_share(text: str | float, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "0%", "100%", "1", "20", "-5%", "abc", "", "%", "nan"])
def test_bad_share_says_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"such as 20% or 0\.2"):
        parse_share(text)


@fuzz
@given(st.one_of(ANYTHING, AMOUNTS))
def test_any_budget_is_a_positive_count_or_a_config_error(value: object) -> None:
    try:
        budget = parse_budget(value)  # type: ignore[arg-type]
    except ConfigError:
        return
    assert budget.amount > 0 if isinstance(budget, Spend) else budget >= 1
    assert parse_budget(str(budget)) == budget


@fuzz
@given(ANYTHING)
def test_any_duration_is_positive_and_finite_or_a_config_error(value: object) -> None:
    try:
        seconds = parse_duration(value)  # type: ignore[arg-type]
    except ConfigError:
        return
    assert seconds > 0
    assert math.isfinite(seconds)


@fuzz
@given(ANYTHING)
def test_any_share_is_a_fraction_or_a_config_error(value: object) -> None:
    try:
        share = parse_share(value)  # type: ignore[arg-type]
    except ConfigError:
        return
    assert 0 < share < 1


@fuzz
@given(st.integers(1, 2**53))
def test_plain_numbers_keep_their_value(count: int) -> None:
    assert parse_budget(str(count)) == count
    if count <= 9_000_000:
        assert parse_budget(f"{count}k") == 1000 * count


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1234, "1.2k"), (1234567, "1.2M"), (2e9, "2.0G")]
)
def test_human_count(number: float, text: str) -> None:
    assert human_count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1 min 01 s"), (3725, "1 h 02 min")],
)
def test_human_seconds(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text
