"""`push_to_hub`: a finished run's datasets, provenance and card, for others to load.

This is where verbs meet (write, run), so it stands beside the library's other functions.
"""

from pathlib import Path

from seamaug.errors import RunFolderError
from seamaug.run.mirror import run_here
from seamaug.storage import Place
from seamaug.write.datasets import DATASETS, PROVENANCE, dataset_file, is_written
from seamaug.write.hub import upload
from seamaug.write.summary import stored_summary

CARD = "README.md"


def push_to_hub(run: Place, repo: str, *, public: bool = False) -> str:
    """Upload the three datasets, provenance.parquet and the card of a finished run; return the URL.

    run: folder of a run that `expand` finished, a path or an address.
    repo: USER/NAME, or NAME for one's own, of a dataset repository on the Hugging Face hub
        (HF_ENDPOINT names another server).
    public: for everybody to see; else it is private. A repository that is there already must be
        of that kind.

    Nothing else leaves the machine: not run.json, which holds the config with its paths, nor
    contamination.parquet, which quotes the evaluation files. The card calls models by the last part
    of their path. `load_dataset(repo, "preference")` then opens what `RUN/preference` holds.

    Raises HubError without a token, or where the hub refuses.
    """
    names = [dataset_file(Path(), name).as_posix() for name in (*DATASETS, PROVENANCE)]
    with run_here(run, *names, CARD) as folder:
        stored_summary(folder)
        if not is_written(folder) or not (folder / CARD).is_file():
            raise RunFolderError(
                f"files of {folder} are missing or damaged; remove its run.json and run its expand "
                "command again: they are made anew from the finished parts"
            )
        return upload(folder, [*names, CARD], repo, public=public)
