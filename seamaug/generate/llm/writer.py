"""Has the LLM carry out operators: requests, replies, and a second try where one is unreadable."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from seamaug.generate.llm.fences import DATA_RULE, item_values, pair_values
from seamaug.generate.llm.operators import LLMOperator
from seamaug.generate.llm.replies import Answers, Form, ReplyError
from seamaug.generate.templates import Template
from seamaug.log import logger
from seamaug.models.engines import Preference, Reply, Request
from seamaug.models.generation import BUDGET_SPENT, Generation
from seamaug.records import Message, Parent, Seed, text_key, user_message

_SHOWN_NEIGHBOURS = 3
_DECIDED = 0.01  # a verdict is no sample; engines take no 0 here


@dataclass(frozen=True, slots=True)
class Task:
    """One operator on one parent."""

    operator: LLMOperator
    parent: Parent
    seed: int
    aspects: tuple[str, ...] = ()
    """What is to be wrong, for an operator of kind `worse`: one answer for each."""


@dataclass(frozen=True, slots=True)
class Written:
    """What the LLM wrote, or why it is of no use."""

    answers: Answers
    """By number; fewer than were asked for where the LLM left some out twice."""
    error: str = ""
    reply: str = ""
    """The reply as it came, where it could not be read."""
    tokens: int = 0
    """Read and written for it, with what could not be read."""

    def text(self, field: str) -> str:
        """A text of the only answer; empty where there is none."""
        return self.answers[1][field] if self.answers else ""


@dataclass(frozen=True, slots=True)
class _Ask:
    request: Request
    form: Form
    key: str

    def read(self, reply: Reply) -> Written:
        if reply.error:
            return Written({}, reply.error)
        try:
            return Written(self.form.read(reply, self.key))
        except ReplyError as error:
            return Written({}, str(error), reply.text)

    def again(self, reply: Reply, found: Written, *, structured: bool) -> "_Ask | None":
        """A request for what is missing, with the reply and what was wrong with it as further
        turns; None where nothing is, or where the engine gave no reply."""
        form = None if reply.error else self.form.without(found.answers)
        if form is None:
            return None
        told = f"Your reply cannot be read: {found.error}. Write it again.\n"
        if found.answers:
            numbers = ", ".join(map(str, form.numbers))
            told = f"Your reply lacks what belongs to these numbers: {numbers}. Write that.\n"
        told += form.instructions(self.key, structured=structured)
        said: Message = {"role": "assistant", "content": reply.text}
        request = replace(
            self.request,
            messages=[*self.request.messages, said, *user_message(told)],
            schema=form.schema() if structured else None,
        )
        return replace(self, request=request, form=form)


class LLMWriter:
    """The LLM's operators, and what scoring asks of it."""

    def __init__(self, generation: Generation, operators: Mapping[str, LLMOperator]) -> None:
        self.generation = generation
        self.operators = operators
        self._judge = Template.load("judge")

    def write(self, tasks: Sequence[Task]) -> list[Written]:
        """What comes of each task, in order; a reply that cannot be used is no other task's."""
        return self._have([self._task(task) for task in tasks])

    @property
    def by_aspect(self) -> LLMOperator:
        """The operator of `worse_by_aspect`."""
        return self.operators["worse_by_aspect"]

    def worse_by_aspect(
        self, seeds: Sequence[Seed], aspects: Sequence[Sequence[str]], *, seed: int
    ) -> list[list[str]]:
        """For each seed, one worse answer for each of its aspects, in their order.

        Empty where the LLM left one out, also when it was asked for that alone.
        """
        operator, asks = self.by_aspect, []
        for item, wanted in zip(seeds, aspects, strict=True):
            key, values = item_values(item, aspects=wanted)
            own = int(text_key([seed, item.id])[:8], 16)
            text = operator.template.render(**values)
            asks.append(self._ask(operator.name, text, operator.form(len(wanted)), key, own))
        return [
            [found.answers.get(number, {}).get("response", "") for number in range(1, len(own) + 1)]
            for own, found in zip(aspects, self._have(asks), strict=True)
        ]

    def prefers(self, cases: Sequence[tuple[Seed, str, str]]) -> list[Preference]:
        """Whichever response of each case the LLM finds better.

        A verdict that names neither is a tie; no verdict at all is an error.
        """
        asks = []
        for item, first, second in cases:
            key, values = pair_values(item, first, second)
            text = self._judge.render(**values)
            asks.append(self._ask("judge", text, Form(("better",)), key, 0, _DECIDED))
        return [
            Preference("", found.error) if found.error else _preference(found.text("better"))
            for found in self._have(asks)
        ]

    def _task(self, task: Task) -> _Ask:
        near = task.parent.neighbour_texts
        shown = random.Random(task.seed).sample(near, min(_SHOWN_NEIGHBOURS, len(near)))
        key, values = item_values(
            task.parent,
            neighbours=shown,
            misjudged=task.parent.misjudged,
            aspects=task.aspects,
        )
        form = task.operator.form(max(1, len(task.aspects)))
        text = task.operator.template.render(**values)
        return self._ask(task.operator.name, text, form, key, task.seed)

    def _ask(
        self,
        operator: str,
        text: str,
        form: Form,
        key: str,
        seed: int,
        temperature: float | None = None,
    ) -> _Ask:
        structured, config = self.generation.structured, self.generation.config
        parts = [text, DATA_RULE, form.instructions(key, structured=structured)]
        request = Request(
            operator=operator,
            messages=user_message("\n\n".join(parts)),
            seed=seed,
            max_new_tokens=self._room(form.texts),
            temperature=config.temperature if temperature is None else temperature,
            schema=form.schema() if structured else None,
        )
        return _Ask(request, form, key)

    def _room(self, texts: int) -> int:
        """`max_new_tokens` for each text of a reply, up to half of what the model can read."""
        own, limit = self.generation.config.max_new_tokens, self.generation.max_length
        return texts * own if limit is None else max(own, min(texts * own, limit // 2))

    def _have(self, asks: Sequence[_Ask]) -> list[Written]:
        """What the LLM makes of each; what is unreadable or missing is asked for once more."""
        structured = self.generation.structured
        replies = self.generation.write([ask.request for ask in asks])
        found = [ask.read(reply) for ask, reply in zip(asks, replies, strict=True)]
        tokens = [reply.prompt_tokens + reply.new_tokens for reply in replies]
        again = {
            i: more
            for i, ask in enumerate(asks)
            if (more := ask.again(replies[i], found[i], structured=structured))
        }
        of_no_use = [asks[i].request for i in again if found[i].error]
        seconds = self.generation.write([ask.request for ask in again.values()])
        for (i, ask), reply in zip(again.items(), seconds, strict=True):
            tokens[i] += reply.prompt_tokens + reply.new_tokens
            if reply.error:  # the first reply, which is at least there, says more
                continue
            second = ask.read(reply)
            of_no_use += [ask.request] if second.error else []
            if second.answers or not found[i].answers:
                found[i] = replace(second, answers=found[i].answers | second.answers)
        self.generation.mark_unreadable(of_no_use)
        _tell([written.error for written in found])
        return [replace(own, tokens=count) for own, count in zip(found, tokens, strict=True)]


def _preference(letter: str) -> Preference:
    places = {"A": "first", "B": "second"}
    return Preference(places.get(letter.strip(" .:*()").upper(), ""))


def _tell(errors: Sequence[str]) -> None:
    if failed := [error for error in errors if error not in ("", BUDGET_SPENT)]:
        logger.info(
            f"{len(failed):,} of {len(errors):,} replies of the generator are of no use, the first "
            f"because: {failed[0]}"
        )
