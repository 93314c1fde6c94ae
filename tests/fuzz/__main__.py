"""`python -m tests.fuzz NAME [LIBFUZZER OPTIONS]`: atheris searches for bytes that break a target.

It ends with exit code 0 where nothing was found, and writes what was found to a file crash-… .
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["seamaug"]):
    from tests.fuzz.targets import EXAMPLES, TARGETS

name, *options = sys.argv[1:]
corpus = Path(tempfile.mkdtemp(prefix=f"seamaug-fuzz-{name}-"))
for number, example in enumerate(EXAMPLES[name]):
    (corpus / f"example-{number}").write_bytes(example)
atheris.Setup([sys.argv[0], str(corpus), *options], TARGETS[name])
atheris.Fuzz()
