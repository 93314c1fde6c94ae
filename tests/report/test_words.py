"""Word by word changes."""

from hypothesis import given
from hypothesis import strategies as st

from seamaug.report.words import ADDED, REMOVED, SAME, changes


def pieces(found: list[str], *signs: str) -> str:
    pairs = zip(found[::2], found[1::2], strict=True)
    return "".join(text for sign, text in pairs if sign in signs)


@given(st.text(), st.text())
def test_both_texts_can_be_read_from_the_changes(before: str, after: str) -> None:
    found = changes(before, after)
    assert set(found[::2]) <= {SAME, ADDED, REMOVED}
    assert pieces(found, SAME, REMOVED) == before
    assert pieces(found, SAME, ADDED) == after


def test_words_are_whole_and_what_is_alike_stays() -> None:
    assert changes("name a red car", "name a blue car, please") == [
        SAME, "name a ", REMOVED, "red", ADDED, "blue", SAME, " car", ADDED, ", please",
    ]  # fmt: skip
    assert changes("漢字文", "漢語文") == [SAME, "漢", REMOVED, "字", ADDED, "語", SAME, "文"]
