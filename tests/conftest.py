"""What every test runs with: Triton's kernels under its interpreter where there is no card, and random tests that find
tomorrow what they find today."""

import os
from pathlib import Path

from hypothesis import settings

from tests.support.postgres import postgres, postgres_database

if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports them

settings.register_profile("repeatable", derandomize=True, print_blob=True)
settings.register_profile("random", print_blob=True)
settings.load_profile("repeatable")  # pytest's --hypothesis-profile loads another one afterwards

__all__ = ["postgres", "postgres_database"]  # fixtures of several services' tests, so that there is one server for all
