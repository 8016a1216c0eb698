"""Without a card Triton's kernels run under its interpreter, which must be asked for before anything imports them."""

import os
from pathlib import Path

if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"
