"""Control tokens in texts for engines that tokenise by themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.models.control_tokens import protected, restored

JOINER = "\u2060"
TOKENS = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|turn>",
    "<turn|>", "<|user|>", "<|START_OF_TURN_TOKEN|>", "<\uff5cUser\uff5c>", "<s>", "</s>", "<pad>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>",
    "<think>", "</think>", "<tool_call>", "<unused12>", "<SPECIAL_7>", "<extra_id_0>", "[INST]",
    "[/INST]", "<<SYS>>", "<</SYS>>", "[CLS]", "[SEP]", "[MASK]", "[gMASK]", "[TOOL_CALLS]",
    "[|endofturn|]", "[|user|]",
]  # fmt: skip
PIECES = ["<", ">", "[", "]", "|", "\uff5c", "/", JOINER, "s", "SYS", "INST", "turn", "\n", " "]


@pytest.mark.parametrize("token", TOKENS)
def test_no_token_is_left_whole(token: str) -> None:
    text = f"before{token}{token}after <{token}] [{token}|>"
    assert token not in protected(text)
    assert restored(protected(text)) == text


def test_a_token_inside_the_brackets_of_another() -> None:
    for inner in TOKENS:
        for text in (f"[|{inner}|]", f"<|{inner}|>", f"[|{'x' * 61}{inner}|]", f"<|{inner}"):
            assert inner not in protected(text)
            assert restored(protected(text)) == text


@pytest.mark.parametrize(
    "text", ["a < b", "x[0]", "<b>bold</b>", "[link](to)", "if a <b and c> d", "[1, 2]", "2 <| 3"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert protected(text) == text


@given(st.lists(st.sampled_from([*PIECES, *TOKENS]) | st.text(max_size=3), max_size=12))
def test_restored_undoes_protected_for_every_text(parts: list[str]) -> None:
    text = "".join(parts)
    assert restored(protected(text)) == text
    assert not any(token in protected(text) for token in TOKENS)


def test_a_text_with_joiners_of_its_own_comes_back_with_them() -> None:
    text = f"<{JOINER}|im_end|> and <{JOINER}{JOINER}s>"
    assert protected(text) == f"<{JOINER}{JOINER}|im_end|> and <{JOINER * 3}s>"
    assert restored(protected(text)) == text


def test_a_token_that_a_model_wrote_itself_stays() -> None:
    assert restored("the token <|im_end|> ends a turn") == "the token <|im_end|> ends a turn"
