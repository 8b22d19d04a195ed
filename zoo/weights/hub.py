"""Weights folders on the Hugging Face hub, through `huggingface_hub`.

HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN and HF_HUB_OFFLINE are that library's, and mean here what they mean there.
Of a repository the files of a weights folder are fetched, by their names, and nothing else. Where the hub can't be
reached, what was fetched before is taken from the cache.
"""

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from zoo.text import printable, shortened
from zoo.weights import folder

NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w][\w./-]*))?", re.ASCII)
WANTED = [folder.CONFIG, folder.TENSORS]  # the card and its picture are for people, who see them on the hub
# Of the library's transports, which are others from version to version.
UNREACHABLE = {"ConnectError", "ConnectTimeout", "ReadTimeout", "ReadError", "RemoteProtocolError", "ProxyError"}


class Repository(NamedTuple):
    id: str  # USER/NAME
    revision: str | None = None


def parsed(name: str) -> Repository:
    """The repository that hf:USER/NAME or hf:USER/NAME@REVISION names.

    Raises:
        ValueError: if it names none.
    """
    match = NAME.fullmatch(name)
    wrong = (
        f"{printable(shortened(name))} is no name of the hub's, which are hf:USER/NAME or hf:USER/NAME@REVISION, of "
        "letters, digits and .-_, none of these twice or at an end"
    )
    if not match:
        raise ValueError(wrong)
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(match[1])
    except HFValidationError:
        raise ValueError(wrong) from None
    return Repository(match[1], match[2])


def fetch(name: str) -> Path:
    """The folder of hf:USER/NAME or hf:USER/NAME@REVISION, downloaded into the hub's cache, or from there.

    Raises:
        ValueError: if there is none, or the hub refuses it, or can't be reached and there is nothing in the cache.
    """
    repository = parsed(name)
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    settings: dict[str, Any] = {"revision": repository.revision, "allow_patterns": WANTED, **_places()}
    with _quiet():
        try:
            place = Path(snapshot_download(repository.id, **settings))
        except Exception as error:  # of several libraries, which change from version to version
            reason = _reason(error)
            if not (isinstance(error, HfHubHTTPError) and _status(error) in (401, 403, 404)):
                reason += ", and the cache does not have it whole"
            try:
                place = Path(snapshot_download(repository.id, local_files_only=True, **settings))
            except Exception:
                raise ValueError(f"{name} can't be fetched: {reason}") from None
            if not folder.is_one(place):
                raise ValueError(f"{name} can't be fetched: {reason}") from None
    if lacking := [file for file in WANTED if not (place / file).is_file()]:
        with _quiet():
            try:  # the library takes from its cache, without a word, what it can't reach: maybe half of it
                HfApi(endpoint=settings["endpoint"]).model_info(repository.id, revision=repository.revision)
            except Exception as error:
                why = f"{_reason(error)}, and the cache does not have it whole"
                raise ValueError(f"{name} can't be fetched: {why}") from None
        raise ValueError(f"{name} is no weights folder of this zoo: it has no {' and no '.join(lacking)}")
    return place


def upload(repository: str, place: Path, *, private: bool = False) -> str:
    """Upload a weights folder as USER/NAME, which is made unless it is there; returns where it is.

    Raises:
        ValueError: if the hub refuses it, or can't be reached, or if it is to be private and is there, for everyone.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _quiet():
        try:
            api.create_repo(repository, private=private or None, exist_ok=True)
            open_to_all = private and not api.model_info(repository).private  # where it was there before
            if not open_to_all:
                commit = api.upload_folder(
                    repo_id=repository, folder_path=place, commit_message="Weights, by zoo publish"
                )
        except Exception as error:
            raise ValueError(f"hf:{repository} can't be published: {_reason(error)}") from None
    if open_to_all:
        raise ValueError(
            f"hf:{repository} is there already, and public: give another name, leave --private out, or make it private "
            "on its page"
        )
    return f"hf:{repository}@{commit.oid}"


def _places() -> dict[str, Any]:
    """Where the hub and the cache are, as the environment says now and not when the library was imported."""
    cache = os.environ.get("HF_HUB_CACHE")
    if cache is None and (home := os.environ.get("HF_HOME")):
        cache = str(Path(home, "hub"))
    return {"endpoint": os.environ.get("HF_ENDPOINT"), "cache_dir": cache}


def _status(error: Any) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _reason(error: BaseException) -> str:
    """Why the hub gave nothing, and the remedy, as the end of a sentence."""
    from huggingface_hub import errors

    chain: list[BaseException] = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None and below not in chain:
        chain.append(below)
    for cause in chain:
        status = _status(cause)
        if isinstance(cause, errors.GatedRepoError):
            return "its owner lets in whoever has asked: ask on its page, then hf auth login"
        if isinstance(cause, errors.RevisionNotFoundError):
            return "it has no such revision"
        if isinstance(cause, errors.RepositoryNotFoundError) or status == 404:
            return "the hub has no such repository, or keeps it from you (hf auth login, or HF_TOKEN)"
        if status in (401, 403):
            return f"the hub refuses it to you ({status}): hf auth login with a token that may, or HF_TOKEN"
        if status == 400:  # such as a licence that it does not know; the whole says more than the cause
            said = " ".join(line.strip(" -") for line in str(error).splitlines() if line.strip())
            return f"the hub does not take it: {printable(shortened(said, length=300))}"
        if status is not None:
            return f"the hub answers with status {status}: try again later"
    if any(isinstance(cause, errors.OfflineModeIsEnabled) for cause in chain):
        return "HF_HUB_OFFLINE is set"
    names = {type(cause).__name__ for cause in chain}
    if names & UNREACHABLE or any(isinstance(c, errors.LocalEntryNotFoundError | ConnectionError) for c in chain):
        return "the hub can't be reached (is there a network?)"
    if strerror := next((cause.strerror for cause in chain if isinstance(cause, OSError) and cause.strerror), None):
        return strerror
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(shortened(lines[0], length=200))


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, and no bars but on a terminal."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, logging

    level, disabled = logging.get_verbosity(), are_progress_bars_disabled()
    logging.set_verbosity(logging.CRITICAL)
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if not disabled and os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") is None:
            enable_progress_bars()
