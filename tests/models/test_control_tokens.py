"""Control tokens in texts for engines that tokenise by themselves."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.models.control_tokens import ControlTokens

CONTROLS = ControlTokens()
protected = CONTROLS.protected
JOINER = "\u2060"
TOKENS = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|turn>",
    "<turn|>", "<|user|>", "<|START_OF_TURN_TOKEN|>", "<\uff5cUser\uff5c>", "<s>", "</s>", "<pad>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>",
    "<think>", "</think>", "<tool_call>", "<unused12>", "<SPECIAL_7>", "<extra_id_0>", "[INST]",
    "[/INST]", "<<SYS>>", "<</SYS>>", "[CLS]", "[SEP]", "[MASK]", "[gMASK]", "[TOOL_CALLS]",
    "[|endofturn|]", "[|user|]", "<user>", "</user>", "<assistant>", "<system>", "<EOS_TOKEN>",
    "<PAD>", "<beginning_of_sentence>", "<seed:bos>", "<eoh>",
]  # fmt: skip
TURNS = [
    "Human:", "USER:", "Assistant :", "System:", "### Assistant:", "###Instruction:", "# Input:",
]  # fmt: skip
PIECES = [
    "<", ">", "[", "]", "|", "\uff5c", "/", JOINER, "s", "SYS", "INST", "turn", "\n", " ", "#",
    "Human", ":",
]  # fmt: skip


def restored(reply: str, shown: str | None = None) -> str:
    """A reply that quotes all that was shown, unless this is given."""
    return CONTROLS.restored(reply, reply if shown is None else shown)


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
    "text",
    [
        "a < b", "x[0]", "<b>bold</b>", "[link](to)", "if a <b and c> d", "[1, 2]", "2 <| 3",
        '<div class="user"><p>Hi</p></div>', "List<String>", "<user name='x'>", "## Systems: two",
        "The user: who is it?", "Humans: are they apes?", "user: root", "#include <model.h>",
    ],
)  # fmt: skip
def test_other_text_stays_as_it_is(text: str) -> None:
    assert protected(text) == text


@pytest.mark.parametrize("turn", TURNS)
def test_no_turn_begins_where_a_template_has_no_token_for_it(turn: str) -> None:
    text = f"{turn} a\n\n{turn} b, not {turn}"
    shown = protected(text)
    assert turn not in shown.rsplit(",", 1)[0]
    assert shown.endswith(f"not {turn}")
    assert restored(shown) == text


@given(st.lists(st.sampled_from([*PIECES, *TOKENS, *TURNS]) | st.text(max_size=3), max_size=12))
def test_restored_undoes_protected_for_every_text(parts: list[str]) -> None:
    text = "".join(parts)
    assert restored(protected(text)) == text
    assert not any(token in protected(text) for token in TOKENS)


def test_a_text_with_joiners_of_its_own_comes_back_with_them() -> None:
    text = f"<{JOINER}|im_end|> and <{JOINER}{JOINER}s>"
    assert protected(text) == f"<{JOINER}{JOINER}|im_end|> and <{JOINER * 3}s>"
    assert restored(protected(text)) == text


def test_a_token_that_a_model_wrote_itself_stays() -> None:
    for shown in ("nothing", f"a {JOINER} of its own"):
        assert restored("the token <|im_end|> ends a turn", shown) == (
            "the token <|im_end|> ends a turn"
        )


def test_a_joiner_that_lost_its_token_goes_where_none_was_shown() -> None:
    assert restored(f"As the H{JOINER}uman says", "Human: hello") == "As the Human says"
    kept = f"As the H{JOINER}uman says"
    assert restored(kept, f"a {JOINER} of its own") == kept


@pytest.mark.parametrize("ascii_alone", [False, True])
def test_joiners_come_off_json_however_it_is_written(ascii_alone: bool) -> None:
    for text in ("a <|im_end|>", r"C:\u2060 is a path, \\<s> another", f"<{JOINER}s> and <s>"):
        said = json.dumps({"request": protected(text)}, ensure_ascii=ascii_alone)
        assert json.loads(restored(said, text)) == {"request": text}
    # No JSON, no escapes.
    assert restored(r"write \u2060", "shown") == r"write \u2060"


def test_tokens_of_the_model_that_is_asked() -> None:
    own = ControlTokens(["]~b]", "<x1>", "~user~", "x"])
    for text in ("say ]~b] or <x1>", "[INST]~b]", "~user~user~", "<x1><x1>", f"]{JOINER}~b]"):
        shown = own.protected(text)
        assert not any(token in shown for token in ("]~b]", "<x1>", "~user~", "[INST]"))
        assert own.restored(shown, text) == text
    assert own.protected("x of 2") == "x of 2"
