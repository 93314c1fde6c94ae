"""The names that `from seamaug import ...` promises."""

import subprocess
import sys

import seamaug


def test_every_public_name_is_what_it_says_also_after_its_modules_are_imported() -> None:
    """A subpackage of the same name would take a function's place once it is imported."""
    check = (
        "from seamaug import expand, export, score, select, ExpandResult\n"
        "import seamaug, types\n"
        "for name in seamaug.__all__:\n"
        "    assert not isinstance(getattr(seamaug, name), types.ModuleType), name\n"
        "assert callable(score) and callable(select) and callable(expand) and callable(export)\n"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"expand", "export", "score", "select"} <= set(seamaug.__all__)
