"""What takes text from outside, as functions of any bytes: they end, or raise a named error."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from seamaug.config import SeedsConfig, load_config
from seamaug.errors import ConfigError, InputError
from seamaug.exports.merge import parse_ratio
from seamaug.generate.llm.operators import load_operators
from seamaug.generate.llm.replies import Form, ReplyError
from seamaug.models.engines import Reply
from seamaug.scoring.table import read_scores
from seamaug.seeds import read_seeds
from seamaug.seeds.pairs import read_pairs
from seamaug.seeds.texts import read_texts
from seamaug.units import parse_budget, parse_duration, parse_share, parse_tokens

FOLDER = Path(tempfile.mkdtemp(prefix="seamaug-fuzz-"))
FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.gz")
FORMS = (
    Form(("request",)),
    Form(("request", "response")),
    Form(("mistake", "response"), (1, 2, 3)),
    Form(("better",)),
)
KEY = "k3y"
BOMB = "".join(
    f"{name}: &{name} [{', '.join(['x' if before == name else f'*{before}'] * 9)}]\n"
    for before, name in zip("aabcdefghijk", "abcdefghijkl", strict=True)
).encode()
"""YAML of a few hundred bytes that stands for 9 to the 12th values."""


def seeds(data: bytes) -> None:
    """The first byte says the format; bad rows are refused, then set aside."""
    path = FOLDER / f"s{FORMATS[(data or bytes(1))[0] % len(FORMATS)]}"
    path.write_bytes(data[1:])
    for bad_rows in (None, str(FOLDER / "bad.jsonl")):
        with suppress(InputError):
            read_seeds(SeedsConfig(paths=(str(path),), bad_rows=bad_rows))


def readers(data: bytes) -> None:
    """What else reads such files: pairs, evaluation files, finished scores."""
    path = FOLDER / f"r{FORMATS[(data or bytes(1))[0] % len(FORMATS)]}"
    path.write_bytes(data[1:])
    with suppress(InputError):
        read_pairs(SeedsConfig(paths=(str(path),)))
    with suppress(InputError):
        for _ in read_texts([str(path)]):
            pass
    with suppress(InputError):
        read_scores(path, "seam")


def units(data: bytes) -> None:
    """Budgets, token limits, durations, shares and ratios."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (parse_budget, parse_tokens, parse_duration, parse_share, parse_ratio):
        with suppress(ConfigError):
            parse(text)


def replies(data: bytes) -> None:
    """What an LLM replied, in each form; the first byte says which, and whether it was cut."""
    kind = (data or bytes(1))[0]
    text = data[1:].decode("utf-8", "surrogateescape" if kind & 64 else "replace")
    form = FORMS[kind % len(FORMS)]
    with suppress(ReplyError):
        answers = form.read(Reply(text, cut=bool(kind & 128)), KEY)
        assert answers
        assert set(answers) <= {*(form.numbers or (1,))}


def config(data: bytes) -> None:
    """A YAML file of settings, or of operators."""
    path = FOLDER / "config.yaml"
    path.write_bytes(data)
    with suppress(ConfigError):
        load_config(path)
    (FOLDER / "operators.yaml").write_bytes(data)
    with suppress(ConfigError):
        load_operators(str(FOLDER))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "seeds": seeds,
    "readers": readers,
    "units": units,
    "replies": replies,
    "config": config,
}
EXAMPLES: dict[str, tuple[bytes, ...]] = {
    "seeds": (
        b'\x00{"prompt": "q", "chosen": "a", "rejected": "b"}\n{"prompt": [], "chosen": 1}\n',
        b'\x01[{"messages": [{"role": "user", "content": "q"}]}, 3]',
        b'\x02prompt,golden\n"a\nb",c\n',
        b"\x04PAR1",
    ),
    "readers": (
        b'\x00{"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.5}\n',
        b'\x00{"id": "1", "seam": 0.5}\n{"id": "2", "seam": null}\n',
        b"\x02id,seam\n12e4,0.5\n",
        b"\x04PAR1",
    ),
    "units": (b"1.5M", b"1h30m", b"20%", b"4:1", b".5k"),
    "replies": (
        b'\x00{"request": "new"}',
        b"\x01<request-k3y>new</request-k3y><response-k3y>yes</response-k3y>",
        b'\x02{"2": {"mistake": "m", "response": "r"}}',
        b"\x03<better>A</better>",
    ),
    "config": (
        b"budget: 10k\npolicy: {engine: server, url: 'http://x/v1', api_key_env: KEY}\n",
        b"a: &a [*a]\nkeep: {rule: rescore}\nverify: {worse: {by: [vote], judges: [m]}}\n",
        BOMB,
    ),
}
"""Where the search begins."""
