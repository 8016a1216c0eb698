"""Checks an upload before any loader sees it."""

from chorus_adapter_store.validate.adapter import check_adapter
from chorus_adapter_store.validate.limits import Limits
from chorus_adapter_store.validate.worker import ProcessValidator, Validator

__all__ = ["Limits", "ProcessValidator", "Validator", "check_adapter"]
