"""Operators that change how a prompt sounds: greeting, thanks, politeness, framing."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from seamaug.generate.operators.base import of_text, operator
from seamaug.generate.operators.text import (
    asks_at_once,
    capitalised,
    decapitalised,
    editable,
    has_payload,
    holds_any,
    sentences,
)

GREETINGS = (
    "Hi!", "Hello!", "Hey!", "Hi there!", "Hello there!", "Hey there!", "Hi,", "Hello,", "Hey,",
)  # fmt: skip
PLEASANTRIES = (
    "I hope you're doing well.", "I hope all is well.", "Hope you're having a good day.",
    "I could use some help.", "I was hoping you could help me out.", "Thanks in advance.",
    "Sorry to bother you.", "Glad to have you here.", "Nice to meet you.",
)  # fmt: skip
CLOSINGS = (
    "Thanks!", "Thank you!", "Thanks a lot!", "Thank you very much.", "Many thanks!", "Cheers!",
    "Thanks in advance!", "Thank you in advance.", "Thanks for your help!", "Much appreciated!",
    "Any help is appreciated.", "I appreciate your help.", "I'd appreciate your help.",
    "Thank you for your time.", "Thanks for taking the time.", "I look forward to your answer.",
)  # fmt: skip
FRAMES = (
    "Quick question:", "Question:", "Question for you:", "Here's a question for you:",
    "I have a question:", "I've got a question:", "My question:", "Here is my question:",
    "Something I'd like to ask:", "A question I have:", "Can I ask you something?",
    "Mind if I ask you something?", "I have a quick question.", "Let me ask you this:",
)  # fmt: skip
PROBLEM_FRAMES = (
    "Quick question:", "Question:", "Question for you:", "Here's a question for you:",
    "Here is something to work out:", "Can I ask you something?", "I have a quick question.",
    "Here's one for you:", "This is what I'm asking about:",
    "I have a question for you:", "Here's what I need help with:",
)  # fmt: skip
POLITE_LEADS = (
    "Could you tell me:", "Can you tell me:", "Would you mind telling me:", "I'd like to know:",
    "I would like to know:", "I would like to ask:", "Please tell me:", "Please help me with this:",
    "Could you please answer this for me?", "Would you mind answering this?",
    "I'd be grateful for an answer to this:", "Please answer the question.",
)  # fmt: skip
POLITE_HELP = (
    "Could you help me with this?", "Can you help me out with this, please?",
    "Please help me with this.", "I'd appreciate some help with this.",
    "Would you mind helping me with this?", "I'd be grateful for your help here.",
    "Could I get some help with this, please?", "Could you please take a look at this?",
    "I would appreciate your help with this question.", "Please have a look at this question.",
)  # fmt: skip
ASIDES = (
    "So,", "Okay, so", "Just wondering,", "Out of curiosity,", "Just curious,", "Tell me,", "Well,",
    "I was wondering,", "I'm curious,", "Just out of interest,", "Right, so", "Hmm,", "Random, but",
)  # fmt: skip
INTEREST = (
    "I keep coming back to this question.", "I've been curious about this for a while.",
    "I'd really like to understand this.", "This has been on my mind lately.",
    "I couldn't find a clear answer to this elsewhere.", "I want to be sure I get this right.",
    "A friend and I were talking about this.", "I'm not sure how to approach this.",
    "I tried looking this up but gave up.", "This came up in a conversation recently.",
    "I've been thinking about this for some time.", "I'd love to hear your answer to this.",
)  # fmt: skip
PROBLEM_INTEREST = (
    "I want to be sure I get this right.", "I'm not sure how to approach this.", "I'm stuck here.",
    "I'd really like to understand this.", "I keep coming back to this question.",
    "I've been thinking about this for some time.", "I'd love to hear your answer to this.",
    "I'd like to see how you would answer this.", "I'd like to check my own answer to this.",
)  # fmt: skip

_LEADS = (*POLITE_LEADS, *POLITE_HELP, *INTEREST, *PROBLEM_INTEREST, *FRAMES, *PROBLEM_FRAMES)
_GREETED = re.compile(r"(?:hi|hello|hey|hallo|greetings|dear|good (?:morning|evening|day))\b", re.I)
_THANKS = ("thank", "cheers", "appreciate", "grateful")
_THANKED = re.compile(r"\b(?:thanks?|cheers|appreciate\w*|grateful)\b", re.I)
_IMPERATIVE = re.compile(
    r"(?:tell|give|explain|write|describe|list|suggest|recommend|show|help|make|create|compare"
    r"|provide|outline|define|discuss|compose|generate)\b(?! (?:of|sure|for|is|are)\b)(?= [a-z])",
    re.I,
)
_REQUEST = re.compile(
    r"(?:(?:Can|Could|Would|Will) you(?: please)? (?=(?:tell|give|show|help) me |"
    r"(?:explain|describe|recommend|suggest|list|write) [a-z])|Please (?=[a-z]+ ))",
    re.I,
)


def framed(text: str) -> bool:
    """Whether the text already opens with a greeting or with a lead such as "Question:"."""
    return _GREETED.match(text) is not None or ":" in text[:45]


def led(text: str) -> bool:
    """Whether the text opens with a sentence of ours, which is no part of the matter."""
    return text.startswith(_LEADS)


def with_lead(lead: str, text: str) -> str:
    """Put a lead before the text, on a line of its own where the text has several lines."""
    return f"{lead}\n\n{text}" if "\n" in text else f"{lead} {text}"


def with_tail(text: str, tail: str) -> str | None:
    """Put a remark after the text, or None where it could be read as part of a given text."""
    if not editable(text) or text[-1] not in ".?!":
        return None
    return f"{text}\n\n{tail}" if "\n" in text else f"{text} {tail}"


def add_please(text: str) -> str | None:
    """Put "Please" before an instruction."""
    small = decapitalised(text)
    if small is None or _IMPERATIVE.match(text) is None:
        return None
    return f"Please {small}" if text[0].isupper() else f"please {small}"


@operator("greeting", "Only a greeting is put in front; the request itself is unchanged.")
def greeting(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if _GREETED.match(text):
        return None
    lead = rng.choice(GREETINGS)
    if rng.random() < 0.6 and lead[-1] == "!":
        lead = f"{lead} {rng.choice(PLEASANTRIES)}"
    small = decapitalised(text) if lead[-1] == "," else None
    return with_lead(lead, text if small is None or "\n" in text else small)


@operator("closing", "Only words of thanks are added at the end; the request is unchanged.")
def closing(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if holds_any(text.lower(), _THANKS) and _THANKED.search(text):
        return None
    return with_tail(text, rng.choice(CLOSINGS))


@operator("framing", "The question is announced before it is asked, in its own words.")
def framing(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if "?" not in text or framed(text) or led(text):
        return None
    return with_lead(rng.choice(FRAMES if asks_at_once(text) else PROBLEM_FRAMES), text)


@operator("polite_lead", "A polite formula is put in front; what is asked stays word for word.")
def polite_lead(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if "?" not in text or framed(text):
        return None
    lead = rng.choice(POLITE_LEADS if asks_at_once(text) else POLITE_HELP)
    return with_lead(lead, text)


@operator("casual_opening", "A casual filler opens the question, whose words do not change.")
def casual_opening(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    small = decapitalised(text)
    if small is None or not asks_at_once(text):
        return None
    return f"{rng.choice(ASIDES)} {small}"


@operator("interest", "A remark on the asker's interest, without facts, is added before or after.")
def interest(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if "?" not in text or framed(text):
        return None
    remark = rng.choice(INTEREST if asks_at_once(text) else PROBLEM_INTEREST)
    return with_lead(remark, text) if rng.random() < 0.5 else with_tail(text, remark)


@operator("please", "The word please is added to an instruction, which asks the same as before.")
@of_text
def please(text: str) -> str | None:
    return add_please(text)


@operator("plain_request", "Polite wrapping is taken off a request, whose content is untouched.")
@of_text
def plain_request(text: str) -> str | None:
    match = _REQUEST.match(text)
    if match is None or "\n" in text:
        return None
    first = sentences(text)[0]
    rest = text[len(first) :]
    body = first[match.end() :]
    if not match.group().lower().startswith("please"):
        if not body.endswith("?"):
            return None
        body = body[:-1].rstrip(" ,") + "."
    return (capitalised(body) if text[0].isupper() else body) + rest


@operator("ask_politely", "An instruction becomes a request for the same thing.")
def ask_politely(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if _IMPERATIVE.match(text) is None or "\n" in text:
        return None
    first = sentences(text)[0]
    small = decapitalised(first)
    if small is None or "?" in first or has_payload(text):
        return None
    if first[-1] in ":!,;":
        return None
    lead = rng.choice(("Could you", "Can you", "Could you please", "Can you please", "Would you"))
    return f"{lead} {small.rstrip('. ')}?" + text[len(first) :]
