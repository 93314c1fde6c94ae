"""What a task is: a question in plain English whose answer a program can check.

It knows its right answer and the mistakes that one makes with it. A response gives an answer in one
of several styles; whether it is the wanted one is told from its words alone.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

Answer = list[str]
Filled = tuple[dict[str, str], Answer, list[Answer]]
"""What fills a wording, the right answer, and mistakes, the likelier ones first."""


@dataclass(frozen=True)
class Task:
    """A question with its right answer and mistakes one makes with it."""

    kind: str
    forms: tuple[str, ...]
    """Wordings that it may have."""
    form: int
    """The one that it has."""
    prompt: str
    answer: str
    mistakes: tuple[str, ...]
    values: dict[str, str]

    def said(self, right: float, rng: random.Random) -> str:
        """The right answer with this probability, else a mistake, the first likeliest."""
        if not self.mistakes or rng.random() < right:
            return self.answer
        weights = [0.5**i for i in range(len(self.mistakes))]
        return rng.choices(self.mistakes, weights)[0]

    def reworded(self, rng: random.Random) -> "Task":
        """The same question in another wording."""
        form = rng.choice([i for i in range(len(self.forms)) if i != self.form])
        return replace(self, form=form, prompt=self.forms[form].format(**self.values))


STYLES = ("{}", "Answer: {}", "I think it is {}", "{}, my friend", "Sure! {}")
"""Ways to give an answer."""


def words(text: str) -> list[str]:
    """What counts of a response. Capitals count, since one kind of task asks for them."""
    return re.findall(r"\w+|-", text)


@dataclass(frozen=True)
class Kind:
    """Wordings of a question, and what draws their content."""

    name: str
    forms: tuple[str, ...]
    fill: Callable[[random.Random], Filled]

    def task(self, rng: random.Random) -> Task:
        """A new one, in a wording at random."""
        values, answer, mistakes = self.fill(rng)
        form = rng.randrange(len(self.forms))
        right = " ".join(answer)
        wrong = dict.fromkeys(" ".join(mistake) for mistake in mistakes)
        wrong.pop(right, None)
        prompt = self.forms[form].format(**values)
        return Task(self.name, self.forms, form, prompt, right, tuple(wrong), values)
