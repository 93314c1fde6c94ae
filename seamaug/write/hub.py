"""A finished run's datasets on the Hugging Face hub, as a dataset repository."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from seamaug.errors import ConfigError, HubError


def upload(folder: Path, files: Sequence[str], repo: str, *, public: bool) -> str:
    """Upload these files (names or globs) of a folder in one go; return the repository's address.

    The repository is made where there is none; one whose visibility is not what was asked for is
    refused, so nothing becomes public by being added to what is. The token is the hub's own:
    HF_TOKEN, or what `hf auth login` stored. Failed requests are repeated by huggingface_hub, and
    files that are there already are not sent again.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"{repo!r} is no name on the hub: {error}. Write USER/NAME") from None
    token = get_token()
    if token is None:
        raise HubError(
            "there is no token for the hub: set HF_TOKEN, or run `hf auth login`; it needs the "
            "right to write"
        )
    api = HfApi(token=token)
    with _explained(repo, api.endpoint):
        url = api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        private = api.dataset_info(url.repo_id).private
        if private == public:
            raise HubError(
                f"the repository {url.repo_id} exists and is "
                + ("private: leave out --public" if private else "public: add --public")
                + ", choose another name, or change that in the repository's settings"
            )
        api.upload_folder(
            repo_id=url.repo_id,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=list(files),
            commit_message="Upload examples augmented by seamaug",
        )
    return str(url)


@contextmanager
def _explained(repo: str, endpoint: str) -> Iterator[None]:
    """Turn what the client raises into an error that says what to do."""
    # HTTPError is that of the client underneath: httpx, or httpx2 from version 2 on.
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # isort: skip

    try:
        yield
    except OfflineModeIsEnabled:
        raise HubError("HF_HUB_OFFLINE is set, so nothing is uploaded; unset it") from None
    except HfHubHTTPError as error:
        raise HubError(_meaning(error.response.status_code, repo, error)) from None
    except HTTPError as error:
        raise HubError(
            f"the hub at {endpoint} cannot be reached ({error}); run the same command again: what "
            "it has already is not sent again"
        ) from None


def _meaning(status: int, repo: str, error: Exception) -> str:
    if status == 401:
        return (
            "the hub does not know the token: set HF_TOKEN anew, or run `hf auth login`; a name "
            "that is not yours is answered so, too"
        )
    if status == 403:
        return (
            f"the token may not write to {repo}: take one with the right to write there, or "
            "another name"
        )
    return f"the hub did not take {repo}: {' '.join(str(error).split())}"
