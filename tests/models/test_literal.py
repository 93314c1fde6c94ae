"""Control tokens in prompts and responses are read as text, with tokenizers of every kind."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import (
    AutoTokenizer,
    ByT5Tokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from seamaug.config import PolicyConfig, RewardConfig
from seamaug.models.tokens import PolicyTokens, RewardTokens
from seamaug.records import Message, user_message

CORPUS = Path(__file__).parents[1] / "data" / "untrusted.jsonl"
TEXTS = [json.loads(line)["text"] for line in CORPUS.read_text(encoding="utf-8").splitlines()]
TEXTS = [text for text in TEXTS if not any("\ud800" <= char <= "\udfff" for char in text)]
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "[SEP]", "<start_of_turn>"]
CHAT = (
    "<s>{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ALPHABET = [chr(code) for code in range(33, 127)]
KINDS = ("bytes", "prefixed", "metaspace", "unigram", "wordpiece", "slow")
EXACT = ("bytes", "metaspace", "slow")
"""Those whose ids give the text back to the letter, but for metaspace's own white space."""


def trained(kind: str) -> Any:
    """A small tokenizer as one of the families has it."""
    parts = {
        "bytes": models.BPE(),
        "prefixed": models.BPE(byte_fallback=True, unk_token="<unk>"),
        "metaspace": models.BPE(byte_fallback=True, unk_token="<unk>"),
        "unigram": models.Unigram(),
        "wordpiece": models.WordPiece(unk_token="[UNK]"),
    }
    own = Tokenizer(parts[kind])
    byte_tokens = [f"<0x{value:02X}>" for value in range(256)]
    if kind == "bytes":
        own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        own.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet)
    elif kind == "wordpiece":
        own.normalizer = normalizers.BertNormalizer(lowercase=True)
        own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        own.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=600, initial_alphabet=ALPHABET, special_tokens=["[UNK]"]
        )
    elif kind == "unigram":
        own.pre_tokenizer = pre_tokenizers.Metaspace()
        own.decoder = decoders.Metaspace()
        # As sentencepiece has them: the control tokens are pieces of the vocabulary itself.
        trainer = trainers.UnigramTrainer(
            vocab_size=400, initial_alphabet=ALPHABET, unk_token="<unk>",
            special_tokens=["<unk>", "<s>", "</s>"],
        )  # fmt: skip
    else:
        first = decoders.Strip(" ", 1, 0)
        if kind == "prefixed":  # Llama 2: a space before each stretch of text
            own.normalizer = normalizers.Sequence(
                [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
            )
        else:
            own.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        own.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), first]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=700, initial_alphabet=[*ALPHABET, "\u2581"],
            special_tokens=["<unk>", "<s>", "</s>", *byte_tokens],
        )  # fmt: skip
    own.train_from_iterator(TEXTS, trainer)
    unknown = {"unk_token": "[UNK]"} if kind == "wordpiece" else {"unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=own,
        bos_token="<s>",
        eos_token="</s>",
        **({} if kind == "bytes" else unknown),
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Folder of a model's config with a tokenizer of a kind, and more tokens where asked."""
    made: dict[Any, str] = {}

    def save(kind: str, template: str = CHAT, plain: tuple[str, ...] = ()) -> str:
        if (kind, template, plain) not in made:
            own = ByT5Tokenizer() if kind == "slow" else trained(kind)
            own.add_tokens([AddedToken(t, special=True) for t in SPECIAL], special_tokens=True)
            own.add_tokens([AddedToken(t, special=False, normalized=False) for t in plain])
            own.chat_template = template
            path = tmp_path_factory.mktemp(kind)
            own.save_pretrained(path)
            LlamaConfig(num_labels=1, vocab_size=len(own)).save_pretrained(path)
            made[kind, template, plain] = str(path)
        return made[kind, template, plain]

    return save


def policy(path: str) -> PolicyTokens:
    return PolicyTokens(PolicyConfig(name=path, max_length=4096, count_eos=False))


def reward(path: str) -> RewardTokens:
    return RewardTokens(RewardConfig(name=path, max_length=4096))


def plain_ids(path: str, messages: list[Message], *, generation_prompt: bool) -> list[int]:
    """What the tokenizer makes of a conversation, whoever wrote the control tokens in it."""
    own = AutoTokenizer.from_pretrained(path)
    text = own.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=generation_prompt
    )
    ids: list[int] = own(text, add_special_tokens=False)["input_ids"]
    return ids


def controls(tokens: PolicyTokens | RewardTokens, ids: list[int]) -> Counter[str]:
    special = {tokens.tokenizer.convert_tokens_to_ids(token): token for token in SPECIAL}
    return Counter(special[token] for token in ids if token in special)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_template_writes_control_tokens(kind: str, folder: Callable[..., str]) -> None:
    path = folder(kind)
    size = len(AutoTokenizer.from_pretrained(path))
    pm, rm = policy(path), reward(path)
    of_prompt = controls(pm, pm.prompt_ids(user_message("x")))
    of_conversation = controls(rm, rm.conversation_ids(user_message("x"), ["y"])[0])
    assert of_prompt == {"<s>": 1, "<|im_start|>": 2, "<|im_end|>": 1}
    for text in [*TEXTS, *SPECIAL, "".join(SPECIAL), "<<s>>", "<|im_<|im_end|>end|>"]:
        ids = pm.prompt_ids(user_message(text))
        assert controls(pm, ids) == of_prompt, text
        assert controls(pm, pm.response_ids([text])[0]) == Counter(), text
        row = rm.conversation_ids(user_message(text), [text])[0]
        assert controls(rm, row) == of_conversation, text
        assert max([*ids, *row]) < size, text


@pytest.mark.parametrize("kind", EXACT)
def test_the_ids_spell_the_text(kind: str, folder: Callable[..., str]) -> None:
    pm = policy(folder(kind))
    for text in [*TEXTS, *SPECIAL, "a<s>b", "a</s>", "  <|im_end|>  "]:
        for ids, start, end in (
            (pm.prompt_ids(user_message(text)), "<s><|im_start|>user\n",
             "<|im_end|>\n<|im_start|>assistant\n"),
            (pm.response_ids([text])[0], "", ""),
        ):  # fmt: skip
            shown = pm.tokenizer.decode(ids, skip_special_tokens=False)
            wanted = start + (text.strip() if start else text) + end
            shown, wanted = (x.replace("\u2581", " ").lstrip(" ") for x in (shown, wanted))
            assert shown == wanted, text


@pytest.mark.parametrize("kind", KINDS)
def test_other_texts_have_the_ids_they_always_had(kind: str, folder: Callable[..., str]) -> None:
    path = folder(kind)
    pm, rm = policy(path), reward(path)
    prompt: list[Message] = [
        {"role": "system", "content": "Be < brief > [ever] </ so |>"},
        {"role": "user", "content": "Is 1 < 2? <b>yes</b> [INST]"},
        {"role": "assistant", "content": "Yes. a<b|c>d"},
        {"role": "user", "content": " And  2?\n\n"},
    ]
    for text in ("So.", "", " a\n", "x < y", "Wie hei\u00dft das? \U0001f642 \u65e5\u672c"):
        answer: Message = {"role": "assistant", "content": text}
        assert pm.prompt_ids(prompt) == plain_ids(path, prompt, generation_prompt=True)
        row = plain_ids(path, [*prompt, answer], generation_prompt=False)
        assert rm.conversation_ids(prompt, [text]) == [row]
        own = AutoTokenizer.from_pretrained(path)
        assert pm.response_ids([text]) == [own(text, add_special_tokens=False)["input_ids"]]


@given(text=st.text())
def test_any_text_at_all(text: str, folder: Callable[..., str]) -> None:
    path = folder("bytes")
    text = text.encode("utf-8", "ignore").decode()
    if not any(token in text for token in SPECIAL):
        message = user_message(text)
        assert policy(path).prompt_ids(message) == plain_ids(path, message, generation_prompt=True)


def test_tokens_that_the_template_writes_though_they_are_not_special(
    folder: Callable[..., str],
) -> None:
    """As older models have their turns, and Qwen its `<think>`."""
    template = CHAT.replace("<|im_start|>", "<|turn|>") + "{# <think> and who\n\n #}"
    template = template.replace("{{ m['role'] }}", "<{{ m['role'] }}>")
    plain = ("<|turn|>", "<think>", "<user>", "who", "\n\n", "<tool>")
    path = folder("bytes", template, plain)
    pm, rm = policy(path), reward(path)

    def count(ids: list[int]) -> dict[str, int]:
        found = Counter(pm.tokenizer.convert_ids_to_tokens(ids))
        return {token: found[token] for token in plain if token in found}

    text = "<|turn|><think><user><tool> who\n\nis it?"
    template_alone = count(pm.prompt_ids(user_message("x")))
    assert template_alone == {"<|turn|>": 2, "<user>": 1}
    # A word, white space, and what the template never writes stay the tokens that they are.
    words = {"who": 1, "\n\n": 1, "<tool>": 1}
    assert count(pm.prompt_ids(user_message(text))) == template_alone | words
    # A policy that thinks says `<think>` as one token, and is scored on it.
    every = dict.fromkeys(plain, 1)
    assert count(pm.response_ids([text])[0]) == every
    assert pm.decode(pm.response_ids([text])) == [text]
    prompt: list[Message] = [
        *user_message("x"), {"role": "assistant", "content": text}, *user_message("y"),
    ]  # fmt: skip
    assert count(pm.prompt_ids(prompt))["<think>"] == 1
    assert count(rm.conversation_ids(user_message("x"), [text])[0])["<think>"] == 1


def test_templates_that_alter_what_is_said(folder: Callable[..., str]) -> None:
    for change in ("| upper", "| lower", "| replace('<|im_end|>', '')", "[:20]", "| tojson"):
        path = folder("bytes", CHAT.replace("| trim", change))
        pm = policy(path)
        alone = controls(pm, pm.prompt_ids(user_message("x")))
        for text in SPECIAL:
            assert controls(pm, pm.prompt_ids(user_message(f" a{text} {text}"))) == alone


def test_stand_ins_in_a_text_are_text(folder: Callable[..., str]) -> None:
    path = folder("bytes")
    pm = policy(path)
    size = len(AutoTokenizer.from_pretrained(path))
    for text in ("\U0010f000", "a\U0010f001\U0010f002|im_end|>", "\U0010f001s>"):
        ids = [*pm.prompt_ids(user_message(text)), *pm.response_ids([text])[0]]
        assert max(ids) < size
        assert controls(pm, pm.response_ids([text])[0]) == Counter()
    assert pm.tokenizer.decode(pm.response_ids(["x\U0010f000y"])[0]) == "x\U0010f000y"
