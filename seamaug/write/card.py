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
from seamaug.run.folder import whole_file
from seamaug.write.datasets import DATASETS

_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_SHOWN = 12
_MARKUP = re.compile(r"[\\`*_\[\]|~&@]|(?<=:)/(?=/)|(?<=www)\.")


def kept_statistics(parts: Iterable[pa.Table]) -> dict[str, Any]:
    """Rejected sources and mean SEAM before and after, over the kept examples."""
    sources: Counter[str] = Counter()
    before = after = 0.0
    count = 0
    columns = ["verdict", "rejected_source", "seam_before", "seam_after"]
    for part in parts:
        for row in part.select(columns).to_pylist():
            if row["verdict"] != KEPT:
                continue
            sources[row["rejected_source"]] += 1
            before += row["seam_before"]
            after += row["seam_after"]
            count += 1
    return {
        "rejected_sources": dict(sorted(sources.items())),
        "seam_before": round(before / count, 6) if count else None,
        "seam_after": round(after / count, 6) if count else None,
    }


def write_card(folder: Path, summary: dict[str, Any], licences: dict[str, int]) -> None:
    """Write README.md with the `configs:` that load_dataset needs."""
    front = {
        "pretty_name": "Examples augmented by seamaug",
        "tags": ["rlhf", "preference", "seamaug", "synthetic"],
        "configs": [
            {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/*.parquet"}]}
            for name in DATASETS
        ],
    }
    environment = jinja2.Environment(
        autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = _cell
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        front=yaml.safe_dump(front, sort_keys=False),
        licences=dict(sorted(licences.items(), key=lambda item: (-item[1], item[0]))),
        shown=_SHOWN,
        **summary,
    )
    with whole_file(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _cell(value: object) -> str:
    """Text from seeds inside a Markdown table: one line, no markup and no links of its own."""
    line = " ".join(printable(str(value)).split())
    plain = _MARKUP.sub(r"\\\g<0>", line).replace("<", "&lt;").replace(">", "&gt;")
    return plain or "not stated"
