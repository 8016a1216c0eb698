"""Without a card Triton's kernels run under its interpreter, which must be asked for before anything imports them."""

import os
from pathlib import Path

from tests.support.postgres import postgres, postgres_database

if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"

__all__ = ["postgres", "postgres_database"]  # fixtures of several services' tests, so that there is one server for all
