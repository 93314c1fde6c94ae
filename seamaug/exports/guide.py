"""What makes a consumer run on an export: its scripts or configs, and a README."""

from pathlib import Path
from typing import Any

import jinja2
import yaml

from seamaug.exports.form import Form
from seamaug.exports.split import TRAIN, VALIDATION
from seamaug.exports.writer import Counts

_TEMPLATES = Path(__file__).parent / "files"
_SUFFIX = ".jinja"


def write_guide(
    folder: Path, name: str, forms: tuple[Form, ...], counts: Counts, *, margin: bool
) -> None:
    """Write the README, and of the dialect's scripts those whose form has rows to train on."""
    written = [form for form in forms if f"{form.name}/{TRAIN}.parquet" in counts.rows]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Only names and numbers of our own go in: no text of a seed, so there is nothing to escape.
        autoescape=False,
    )
    context = {
        "name": name,
        "rows": counts.rows,
        "forms": [form.name for form in written],
        "validated": [f.name for f in written if f"{f.name}/{VALIDATION}.parquet" in counts.rows],
        "scripts": {file: form.name for form in written for file in form.files},
        "left_out": counts.left_out,
        "remarks": counts.remarks,
        "margin": margin,
        "front": yaml.safe_dump({"configs": _configs(written, counts)}, sort_keys=False),
    }
    unwanted = {file for form in forms if form not in written for file in form.files}
    for template in sorted((_TEMPLATES / name).iterdir()):
        target = template.name.removesuffix(_SUFFIX)
        if target not in unwanted and template.is_file():
            text = environment.get_template(f"{name}/{template.name}").render(context)
            (folder / target).write_text(text, encoding="utf-8")


def _configs(written: list[Form], counts: Counts) -> list[dict[str, Any]]:
    """What load_dataset needs to open each form by its name."""
    return [
        {
            "config_name": form.name,
            "data_files": [
                {"split": side, "path": f"{form.name}/{side}.parquet"}
                for side in (TRAIN, VALIDATION)
                if f"{form.name}/{side}.parquet" in counts.rows
            ],
        }
        for form in written
    ]
