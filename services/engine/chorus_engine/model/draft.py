"""The checkpoint of a model that guesses what another one will say."""

from pathlib import Path
from typing import Any

from chorus_engine.core.errors import StartError
from chorus_engine.model.config import ModelConfig, read_config, read_json
from chorus_engine.model.load import LoadedModel, load

TOKENIZER = "tokenizer.json"


def load_draft(
    folder: Path,
    served: LoadedModel,
    served_folder: Path,
    *,
    load_format: str = "auto",
    digest_cache: Path | None = None,
    seed: int = 0,
) -> LoadedModel:
    """On the device, in the dtype and for the lengths of the model that is served; the other arguments are `load`'s.

    Raises StartError for a checkpoint of another vocabulary or of a shorter context.
    """
    positions = len(served.decoder.rotation)
    _check(folder, read_config(folder), served.spec.vocab_size, served_folder, positions)
    return load(
        folder,
        name=folder.name,
        device=served.device,
        dtype=served.spec.dtype,
        load_format=load_format,
        max_model_len=positions,
        digest_cache=digest_cache,
        seed=seed,
        outer_lora=False,
    )


def _check(folder: Path, config: ModelConfig, vocab_size: int, served_folder: Path, positions: int) -> None:
    if config.vocab_size != vocab_size:
        raise StartError(
            f"CHORUS_DRAFT_MODEL={str(folder)!r} has a vocabulary of {config.vocab_size} tokens and the model of "
            f"{vocab_size}; give a draft model with the model's own tokenizer."
        )
    if _vocabulary(folder) != _vocabulary(served_folder):
        raise StartError(
            f"CHORUS_DRAFT_MODEL={str(folder)!r} has another {TOKENIZER} than the model: its tokens are not the same; "
            "give a draft model with the model's own tokenizer."
        )
    if config.max_position_embeddings < positions:
        raise StartError(
            f"CHORUS_DRAFT_MODEL={str(folder)!r} reads {config.max_position_embeddings} tokens and requests may have "
            f"{positions}; lower CHORUS_MAX_MODEL_LEN or give a draft model with a longer context."
        )


def _vocabulary(folder: Path) -> Any:
    """Which token has which id; None without a tokenizer."""
    if not (folder / TOKENIZER).is_file():
        return None
    tokenizer = read_json(folder / TOKENIZER)
    added = [(token.get("id"), token.get("content")) for token in tokenizer.get("added_tokens") or ()]
    return (tokenizer.get("model") or {}).get("vocab"), sorted(added, key=str)
