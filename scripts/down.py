"""Stop the stack that `make up` started from this folder."""

import os
import sys

from scripts.stack.config import StackConfig
from scripts.stack.detach import stop
from scripts.stack.errors import StackError

if __name__ == "__main__":
    try:
        print("Chorus has stopped." if stop(StackConfig.read(os.environ).state) else "Chorus does not run from here.")
    except StackError as error:
        sys.exit(f"chorus: {error}")
