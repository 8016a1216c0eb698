"""Where the base model's files are: in a folder, or on the Hugging Face hub."""

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from chorus_engine.core.errors import StartError

# Weights as safetensors only: other formats may run code when they are read.
_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "tokenizer*")
# The same weights once more, for other programs.
_TWICE = ("consolidated*", "*/*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def locate(model: str, variable: str = "CHORUS_MODEL") -> Path:
    """The folder of a checkpoint; a hub id is downloaded first, with progress, and found again later.

    variable: what named it. Raises StartError in one sentence that says which of the two failed.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or model.startswith((".", "~")) or not _HUB_ID.fullmatch(model):
        raise StartError(f"{variable}={model!r} is no folder; give a checkpoint's folder or a hub id.")
    try:
        return Path(snapshot_download(model, allow_patterns=list(_PATTERNS), ignore_patterns=list(_TWICE)))
    except (RepositoryNotFoundError, HFValidationError, GatedRepoError) as error:
        reason = (
            "wants an access token with permission (HF_TOKEN)" if isinstance(error, GatedRepoError) else "is unknown"
        )
        raise StartError(f"{variable}={model!r} is no folder here, and the hub says it {reason}.") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise StartError(
            f"{variable}={model!r} is no folder here, and the hub cannot be reached ({type(error).__name__}); "
            "give a folder, or connect and try again."
        ) from None
