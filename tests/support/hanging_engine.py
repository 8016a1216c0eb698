"""`python -m tests.support.hanging_engine`: the real engine, whose steps hang while the file HANG_FILE exists."""

import os
import sys
import time
from pathlib import Path

from chorus_engine import main
from chorus_engine.__main__ import main as start
from chorus_engine.core.plan import StepPlan
from chorus_engine.runner import Runner
from chorus_engine.runner.runner import Pending


class HangingRunner(Runner):
    def launch(self, plan: StepPlan) -> Pending:
        while Path(os.environ["HANG_FILE"]).exists():
            time.sleep(0.02)
        return super().launch(plan)


if __name__ == "__main__":
    main.Runner = HangingRunner  # type: ignore[attr-defined]  # where the engine is put together
    sys.exit(start())
