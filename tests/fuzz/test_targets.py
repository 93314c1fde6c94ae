"""A short form of `make fuzz`, by hypothesis: any bytes, and spoilt examples."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import EXAMPLES, TARGETS


def spoilt(example: bytes, at: int, cut: int, patch: bytes) -> bytes:
    at %= len(example)
    return example[:at] + patch + example[at + cut :]


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_end_well_or_in_a_named_error(name: str) -> None:
    spoil = st.builds(
        spoilt,
        st.sampled_from(EXAMPLES[name]),
        st.integers(0, 200),
        st.integers(0, 20),
        st.binary(max_size=6),
    )

    @settings(deadline=None, database=None, max_examples=150, derandomize=True)
    @given(st.one_of(st.binary(max_size=200), spoil))
    def holds(data: bytes) -> None:
        TARGETS[name](data)

    for example in EXAMPLES[name]:
        TARGETS[name](example)
    holds()
