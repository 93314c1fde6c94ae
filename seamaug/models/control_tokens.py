"""Control tokens inside texts for engines that take text and tokenise it themselves.

A server's tokenizer reads `<|im_end|>` in a seed as the end of a turn. Where only text can be sent,
a word joiner (U+2060, invisible) goes behind the first character of whatever looks like a control
token, and comes off the reply. Engines that take token ids need none of this: models/tokens.py.
"""

import re

_JOINER = "\u2060"
# What tokenizers of chat models of 2023 to 2026 hold as single tokens. It may be too wide, since
# what it changes comes back as it was, and must not be too narrow.
_NAMES_IN_ANGLES = (
    r"s|pad|unk|bos|eos|mask|cls|sep|sop|eop|eod|eot|think|tool_calls?|tool_response|tools|function"
    r"|(?:start|end)_of_[a-z]+|(?:begin|end)of[a-z]+|unused_?\d+|reserved_\d+|extra_id_\d+"
    r"|SPECIAL_\d+|image|audio|video|fim_[a-z]+|turn|channel|minimax:[a-z_]+|AI|human|bot"
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


def _tokens(joined: str) -> re.Pattern[str]:
    """Openers of control tokens, with `joined` behind them and then any number of joiners."""
    return re.compile(
        rf"<{joined}(?={_JOINER}*(?:{_AFTER_ANGLE}))|\[{joined}(?={_JOINER}*(?:{_AFTER_BRACKET}))"
    )


_ANY, _JOINED = _tokens(""), _tokens(_JOINER)


def protected(text: str) -> str:
    """The text with one joiner more inside every control token.

    What holds joiners there already gets one more too, so that `restored` undoes this for every
    text whatever.
    """
    return _ANY.sub(rf"\g<0>{_JOINER}", text)


def restored(text: str) -> str:
    """A protected text, or one that quotes from it, as it was: one joiner less in each token.

    A control token that a model wrote by itself, without a joiner, stays as it is.
    """
    return _JOINED.sub(lambda found: found[0][0], text)
