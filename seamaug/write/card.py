"""The dataset card: what was made, from what, by what, and its limits."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import yaml

from seamaug.printable import printable
from seamaug.records import KEPT
from seamaug.resources import EMBEDDED
from seamaug.run.folder import whole_file
from seamaug.write.datasets import DATASETS
from seamaug.write.summary import use_of_budget

_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_SHOWN = 12
_MARKUP = re.compile(r"[\\`*_\[\]|~&@]|(?<=:)/(?=/)|(?<=www)\.")
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_HUB_LICENCES = """
afl-3.0 agpl-3.0 apache-2.0 bsd-2-clause bsd-3-clause bsl-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0
cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 gpl-2.0 gpl-3.0 isc lgpl-2.1 lgpl-3.0 mit mpl-2.0 odbl odc-by
pddl unlicense zlib
"""
"""Those that the hub knows by name; its list: huggingface.co/docs/hub/repositories-licenses."""
_NAMED = 3
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
_LIMITS = {
    "lookahead": "A variant was kept because training the reward model on it is predicted to lower "
    "SEAM; the prediction is of Newton steps of its last layer, not of a whole training.",
    "discrepant": "A variant was kept because the two models disagree on it; that training on it "
    "lowers the discrepancy is not shown by these numbers.",
    "rescore": "A variant was kept because its own discrepancy is below its parent's; that "
    "training on it lowers the discrepancy elsewhere is not shown by these numbers.",
}


def kept_statistics(parts: Iterable[pa.Table]) -> dict[str, Any]:
    """Rejected sources, verifiers and mean SEAM before and after, over the kept examples."""
    sources: Counter[str] = Counter()
    verifiers: Counter[str] = Counter()
    before = after = 0.0
    count = 0
    columns = ["verdict", "rejected_source", "verifier", "seam_before", "seam_after"]
    for part in parts:
        for row in part.select(columns).to_pylist():
            if row["verdict"] != KEPT:
                continue
            sources[row["rejected_source"]] += 1
            verifiers[row["verifier"]] += 1
            before += row["seam_before"]
            after += row["seam_after"]
            count += 1
    return {
        "rejected_sources": dict(sorted(sources.items())),
        "verifiers": dict(sorted(verifiers.items())),
        "seam_before": round(before / count, 6) if count else None,
        "seam_after": round(after / count, 6) if count else None,
    }


def write_card(folder: Path, summary: dict[str, Any]) -> None:
    """Write README.md with what the hub and load_dataset read at its head.

    It is made to be published: a model that is a local folder goes by that folder's name alone.
    """
    environment = jinja2.Environment(
        autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(cell=_cell, published=_published, role=_role)
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        front=yaml.safe_dump(_front(summary), sort_keys=False),
        limit=_LIMITS.get(summary["foreseen"].get("rule"), _LIMITS["discrepant"]),
        embedded=EMBEDDED,
        shown=_SHOWN,
        use_of_budget=use_of_budget(summary)[0],
        **summary,
    )
    with whole_file(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _front(summary: dict[str, Any]) -> dict[str, Any]:
    kept = summary["counts"]["candidates"]["kept"]
    return {
        "pretty_name": "Examples augmented by seamaug",
        **_licence(line["licence"] for line in summary["licences"]),
        "task_categories": ["text-generation", "reinforcement-learning"],
        "size_categories": [next(_SIZES[i] for i in range(6) if kept < 1000 * 10**i or i == 5)],
        "tags": ["rlhf", "preference", "seamaug", "synthetic"],
        "configs": [
            {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/*.parquet"}]}
            for name in DATASETS
        ],
    }


def _licence(stated: Iterable[str]) -> dict[str, str]:
    """An id where all seeds state one that the hub knows, else `other` with a name for them all.

    What is not stated holds for nothing, so one such seed is enough for `other`.
    """
    names = sorted({"-".join(name.lower().split()) or "not-stated" for name in stated})
    if len(names) == 1 and names[0] in _HUB_LICENCES.split():
        return {"license": names[0]}
    plain = [re.sub(r"[^a-z0-9.]+", "-", name).strip("-.") or "unnamed" for name in names]
    several = "-and-".join(plain) if len(plain) <= _NAMED else "mixed"
    return {"license": "other", "license_name": several}


def _published(name: str) -> str:
    """A model's name that tells nothing of the machine: of a path, what stands last."""
    if _HUB_NAME.fullmatch(name):
        return name
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1]


def _role(name: str) -> str:
    """Further reward models and judges are told apart in run.json by name; the name has its own
    column."""
    role = name.split()[0]
    return "reward model" if role == "reward" else role


def _cell(value: object) -> str:
    """Text from seeds inside a Markdown table: one line, no markup and no links of its own."""
    line = " ".join(printable(str(value)).split())
    plain = _MARKUP.sub(r"\\\g<0>", line).replace("<", "&lt;").replace(">", "&gt;")
    return plain or "not stated"
