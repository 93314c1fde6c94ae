"""Control tokens that stand in a text: `<|im_end|>` in a seed is read, and ends nothing.

A tokenizer takes such a string for its control token wherever it meets it. Here its first character
gives way to a stand-in before the template is rendered, and the stand-in's id to those of the
character after tokenising. So template and text still go through the tokenizer in one pass, and
the template's own control tokens stay what they are.

What a template writes as ordinary text (Llama 2's `[INST]`, where it is no token) has the same ids
wherever it stands: no tokenizer tells the two apart, and neither does this.
"""

import re
from typing import Any

from transformers import AddedToken

from seamaug.errors import ModelError
from seamaug.models.loading import render
from seamaug.records import Message

_FIRST_STAND_IN = 0x10F000  # far out in private use; a text's own ones count as a control token
_OWN = chr(_FIRST_STAND_IN)
_GUARD = "a"
_MARK = re.compile(r"[^\w\s].*\w.*[^\w\s]", re.DOTALL)
"""What a control token looks like, as opposed to a word or white space that is one token."""


class LiteralText:
    """Marks control tokens in texts, and turns the marks into ids of plain characters.

    Texts without such tokens get the ids they would have without this. The tokenizer is given one
    token more for each character that control tokens begin with.
    """

    def __init__(self, tokenizer: Any) -> None:
        special, turns = control_tokens(tokenizer)
        firsts = sorted({_OWN, *(token[0] for token in turns)})
        stand_ins = {first: chr(_FIRST_STAND_IN + i) for i, first in enumerate(firsts)}
        plain = {first: _ids_within_a_text(tokenizer, first) for first in firsts}
        tokenizer.add_tokens(
            [AddedToken(char, special=True, normalized=False) for char in stand_ins.values()],
            special_tokens=True,
        )
        self._plain = {
            tokenizer.convert_tokens_to_ids(stand_ins[first]): ids for first, ids in plain.items()
        }
        self._stand_ins = stand_ins
        self._any_stand_in = re.compile(f"[{_OWN}-{max(stand_ins.values())}]")
        self._special, self._turns = self._starts_of(special), self._starts_of(turns)

    def message(self, message: Message) -> Message:
        """A message of a prompt, ready for the template.

        What an assistant says may hold tokens that are not special to the tokenizer, such as
        `<think>`: the model said them as tokens.
        """
        own = message["role"] == "assistant"
        content = self._marked(self._special if own else self._turns, message["content"])
        return {**message, "content": content}

    def response(self, text: str) -> str:
        """What an assistant says, ready for the tokenizer."""
        return self._marked(self._special, text)

    def ids(self, text: str, ids: list[int]) -> list[int]:
        """Ids of a text, or of a conversation, that was made ready; without stand-ins."""
        if self._any_stand_in.search(text) is None:
            return ids
        return [plain for token in ids for plain in self._plain.get(token, [token])]

    def _starts_of(self, tokens: set[str]) -> re.Pattern[str]:
        rests: dict[str, list[str]] = {}
        for token in sorted(tokens):
            rests.setdefault(token[0], []).append(re.escape(token[1:]))
        found = [rf"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items()]
        return re.compile("|".join([*found, self._any_stand_in.pattern]))

    def _marked(self, starts: re.Pattern[str], text: str) -> str:
        own = self._stand_ins[_OWN]
        return starts.sub(lambda found: self._stand_ins.get(found[0], own), text)


def control_tokens(tokenizer: Any) -> tuple[set[str], set[str]]:
    """Special tokens; and these with the tokens that the chat template writes.

    One character cannot be taken apart; a tokenizer with such a control token has no other way to
    read that character.
    """
    added = tokenizer.added_tokens_decoder.values()
    special = {*map(str, tokenizer.all_special_tokens), *(str(t) for t in added if t.special)}
    template = str(tokenizer.chat_template) + _conversation(tokenizer)
    written = {str(t) for t in added if str(t) in template and _MARK.fullmatch(str(t))}
    longer = {token for token in special if len(token) > 1}
    return longer, longer | written


def _conversation(tokenizer: Any) -> str:
    """A rendered conversation: a template may put its marks together from parts."""
    turns = [Message(role=role, content=_GUARD) for role in ("user", "assistant", "user")]
    try:
        return render(tokenizer, turns, generation_prompt=True)
    except ModelError:  # some templates take a single turn only
        return ""


def _ids_within_a_text(tokenizer: Any, char: str) -> list[int]:
    """Ids of a character that other text precedes: many tokenizers put a space before the first."""
    before, both = tokenizer([_GUARD, _GUARD + char], add_special_tokens=False)["input_ids"]
    if both[: len(before)] == before:
        return list(both[len(before) :])
    return list(tokenizer(char, add_special_tokens=False)["input_ids"])
