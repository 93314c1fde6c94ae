"""axolotl (0.19): prompt_strategies/{chat_template,dpo,bradley_terry,kto}."""

import pyarrow as pa

from seamaug.exports.example import Example
from seamaug.exports.form import Form, Row, conversations, judged, pairs, unpaired
from seamaug.records import MESSAGES

_SHORT = 8


def forms() -> tuple[Form, ...]:
    """SFT, DPO (`chat_template.argilla_chat`), reward model (single turn only), and KTO."""
    return (
        conversations("sft.yaml"),
        pairs("dpo.yaml", remark=_hard_to_find),
        Form(
            "reward",
            pa.schema([(name, pa.string()) for name in ("system", "input", "chosen", "rejected")]),
            _reward,
            ("reward.yaml",),
            lambda example: unpaired(example) or _several_turns(example),
            _empty_system,
        ),
        Form(
            "kto",
            pa.schema([("completion", MESSAGES), ("label", pa.bool_())]),
            lambda example: [
                {"completion": example.with_response(text), "label": good}
                for text, good in judged(example)
            ],
            ("kto.yaml",),
            unpaired,
            shuffled=True,
        ),
    )


def _reward(example: Example) -> list[Row]:
    system = "".join(turn["content"] for turn in example.prompt[:-1])
    return [
        {
            "system": system,
            "input": example.prompt[-1]["content"],
            "chosen": example.chosen,
            "rejected": rejected,
        }
        for rejected in example.rejected
    ]


def _several_turns(example: Example) -> str:
    roles = [turn["role"] for turn in example.prompt]
    single = roles in (["user"], ["system", "user"])
    return "" if single else "has several turns, which bradley_terry.chat_template cannot hold"


def _empty_system(example: Example) -> str:
    empty = len(example.prompt) > 1 and not example.prompt[0]["content"]
    return "has an empty system turn, which is taken for none" if empty else ""


def _hard_to_find(example: Example) -> str:
    """argilla_chat renders a response after a dummy turn, and cuts from where its text first is."""
    texts = (example.chosen, *example.rejected)
    if any(text != text.strip() for text in texts):
        return "has a response with white space at its end, cut wrongly if the template trims it"
    if any(len(text) < _SHORT for text in texts):
        return "has a very short response, cut wrongly if the template holds the same letters"
    return ""
