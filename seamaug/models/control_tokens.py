"""Control tokens inside texts for engines that take text and tokenise it themselves.

A server's tokenizer reads `<|im_end|>` in a seed as the end of a turn. Where only text can be sent,
a word joiner (U+2060, invisible) goes behind the first character of whatever looks like a control
token, and comes off the reply. So does one in what a template may write as ordinary text to begin a
turn, such as `### Assistant:`. Engines that take token ids need none of this: models/tokens.py.
"""

import re
from collections.abc import Collection

_JOINER = "\u2060"
_ESCAPED = re.compile(r"(?<!\\)((?:\\\\)*)\\u2060")
"""A joiner as JSON may have it; behind two backslashes it is text."""
# What tokenizers of chat models of 2023 to 2026 hold as single tokens. It may be too wide, since
# what it changes comes back as it was, and must not be too narrow.
_NAMES_IN_ANGLES = (
    r"s|pad|unk|bos|eos|mask|cls|sep|sop|eop|eod|eot|think|tool_calls?|tool_response|tools|function"
    r"|(?:start|begin|beginning|end)_of_[a-z_]+|(?:begin|end)of[a-z]+|unused_?\d+|reserved_\d+"
    r"|extra_id_\d+|SPECIAL_\d+|[A-Z_]{1,32}_TOKEN|PAD|UNK|MASK|CLS|image|audio|video|fim_[a-z]+"
    r"|turn|channel|(?:minimax|seed):[a-z_:]+|AI|human|bot|user|assistant|system|model|eo[ahm]"
)
_NAMES_IN_BRACKETS = (
    r"CLS|SEP|PAD|UNK|MASK|BOS|EOS|gMASK|sMASK|INST|IMG|IMG_BREAK|IMG_END|PREFIX|MIDDLE|SUFFIX"
    r"|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK"
    r"|AUDIO|BEGIN_AUDIO|TRANSCRIBE|MODEL_SETTINGS|STREAMING_PAD"
)
# No body holds what another token begins with, so a joiner in one token alters no other.
_AFTER_ANGLE = (
    r"[|\uff5c][^<>\[\n]{1,64}>"  # <|im_end|>, <\uff5cUser\uff5c>, <|turn>
    r"|[a-z_]{1,32}[|\uff5c]>"  # <turn|>
    rf"|/?(?:{_NAMES_IN_ANGLES})>"
    r"|</?SYS>>"
)
_AFTER_BRACKET = rf"\|[^<\[\]|\n]{{1,64}}\|\]|/?(?:{_NAMES_IN_BRACKETS})\]"


# A turn's beginning, at that of a line, where a template has no token for it.
_ROLES = ("Human", "HUMAN", "User", "USER", "Assistant", "ASSISTANT", "System", "SYSTEM")
_AFTER_HASH = rf"#{{0,3}} ?(?:{'|'.join(_ROLES)}|Instruction|Input|Response) ?:"


class ControlTokens:
    """Those of any chat model, by their looks, and the `own` ones of the model that is asked."""

    def __init__(self, own: Collection[str] = ()) -> None:
        self._any, self._joined = _starts("", own), _starts(_JOINER, own)

    def protected(self, text: str) -> str:
        """The text with one joiner more inside every control token.

        What holds joiners there already gets one more too, so that `restored` undoes this for
        every text whatever.
        """
        return self._any.sub(rf"\g<0>{_JOINER}", text)

    def restored(self, reply: str, shown: str) -> str:
        """A reply as it would be if protected texts had been `shown` as they are.

        Where these hold no joiner, no joiner in a reply is anyone's: also one that lost the token
        around it. Else there is one less in each token. A token that a model wrote by itself stays.
        """
        if reply.startswith("{"):
            reply = _ESCAPED.sub(rf"\1{_JOINER}", reply)
        if _JOINER not in shown:
            return reply.replace(_JOINER, "")
        return self._joined.sub(lambda found: found[0][0], reply)


def _starts(joined: str, own: Collection[str]) -> re.Pattern[str]:
    """Openers of control tokens, with `joined` behind them and then any number of joiners."""
    bodies = [("<", _AFTER_ANGLE), ("[", _AFTER_BRACKET)]
    # Another token's joiner may stand anywhere inside one of these.
    bodies += [(t[0], f"{_JOINER}*".join(map(re.escape, t[1:]))) for t in sorted(own) if t[1:]]
    turns = [("#", _AFTER_HASH), *((role[0], f"{role[1:]} ?:") for role in _ROLES)]
    found = [rf"{re.escape(a)}{joined}(?={_JOINER}*(?:{body}))" for a, body in bodies]
    found += [rf"^{a}{joined}(?={_JOINER}*(?:{body}))" for a, body in turns]
    return re.compile("|".join(found), re.MULTILINE)
