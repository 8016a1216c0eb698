"""`python -m chorus_adapter_store`."""

import asyncio
import sys

from chorus_adapter_store.config import load_settings
from chorus_adapter_store.errors import StartError
from chorus_adapter_store.telemetry.logs import configure_logs


def main() -> int:
    """The exit status: 0 after a stop by signal, 2 when the store cannot start."""
    try:
        settings = load_settings(sys.argv[1:])
        configure_logs(settings.log_level)
        import uvloop

        from chorus_adapter_store.main import serve  # a second that --help and wrong settings do not wait for

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except StartError as error:
        sys.stderr.write(f"adapter-store: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
