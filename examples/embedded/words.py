"""Word-level language models, the yardstick for the policy."""

import math
import re
from collections import Counter
from collections.abc import Sequence

UNKNOWN, END = "<unk>", "<end>"


def units(text: str) -> list[str]:
    """Cut a text into words, punctuation marks and line breaks."""
    return [*re.findall(r"\w+|[^\w\s]|\n", text), END]


class WordModel:
    """A word-level trigram model; an unknown word is spelled letter by letter."""

    def __init__(self, texts: Sequence[str]) -> None:
        lines = [units(text) for text in texts]
        seen = Counter(word for line in lines for word in line)
        # Words seen once stand for the unknown ones: they give the unknown mark its share.
        self.words = {word for word, count in seen.items() if count > 1}
        letters: Counter[str] = Counter()
        for word in seen.keys() - self.words:
            letters.update([*word, END])
        self.letters, self.letter_sum = letters, letters.total() + 1 + 256
        self.counts: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(4)]
        for line in lines:
            for context in self.windows(line):
                for size in (1, 2, 3):
                    self.counts[size][context[3 - size :]] += 1
                    self.counts[0][(str(size), *context[3 - size : 2])] += 1

    def windows(self, line: list[str]) -> list[tuple[str, ...]]:
        """Return each word with the two before it."""
        known = [END, END, *[w if w in self.words else UNKNOWN for w in line]]
        return [tuple(known[i : i + 3]) for i in range(len(line))]

    def spelling(self, word: str) -> float:
        """Return the log-probability of the letters of a word."""
        return sum(math.log((self.letters[c] + 1) / self.letter_sum) for c in [*word, END])

    def parts(self, window: tuple[str, ...]) -> list[float]:
        """Return the uniform, unigram, bigram and trigram probability of the last word."""
        out = [1 / (len(self.words) + 1)]
        for size in (1, 2, 3):
            seen = self.counts[0][(str(size), *window[3 - size : 2])]
            out.append(self.counts[size][window[3 - size :]] / seen if seen else 0.0)
        return out

    def fit(self, texts: Sequence[str], order: int, rounds: int = 15) -> list[float]:
        """Fit the mixing weights on other texts by expectation maximisation."""
        rows = [self.parts(w)[: order + 1] for t in texts for w in self.windows(units(t))]
        mix = [1 / (order + 1)] * (order + 1)
        for _ in range(rounds):
            gained = [0.0] * (order + 1)
            for row in rows:
                whole = sum(m * p for m, p in zip(mix, row, strict=True))
                for i in range(order + 1):
                    gained[i] += mix[i] * row[i] / whole
            mix = [g / len(rows) for g in gained]
        return mix

    def nats(self, texts: Sequence[str], mix: list[float]) -> float:
        """Return the summed negative log-likelihood of the texts."""
        total = 0.0
        for line in map(units, texts):
            for word, window in zip(line, self.windows(line), strict=True):
                total -= math.log(sum(m * p for m, p in zip(mix, self.parts(window), strict=False)))
                if word not in self.words:
                    total -= self.spelling(word)
        return total
