"""Networks, their layers and their weights: a checkpoint folder becomes a decoder on a device."""

from chorus_engine.model.config import ModelConfig
from chorus_engine.model.decoder import Decoder, ModelInput, Wanted
from chorus_engine.model.digest_check import DigestCheck
from chorus_engine.model.draft import load_draft
from chorus_engine.model.load import LoadedModel, load

__all__ = ["Decoder", "DigestCheck", "LoadedModel", "ModelConfig", "ModelInput", "Wanted", "load", "load_draft"]
