"""Start Chorus on this machine and stop it on Ctrl-C or SIGTERM.

usage: python -m scripts.up [--detach]
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Mapping

from scripts.progress import progress
from scripts.stack.banner import banner, shown
from scripts.stack.config import DEMO, StackConfig
from scripts.stack.detach import detach, ready_path
from scripts.stack.errors import StackError
from scripts.stack.lock import hold_lock
from scripts.stack.logs import Logs
from scripts.stack.manager import Ended, Screen, Supervisor, use_fork
from scripts.stack.ports import check_ports
from scripts.stack.ready import Stopped, await_healthy
from scripts.stack.secrets import ensure_secrets
from scripts.stack.seed import Admin, seed
from scripts.stack.services import read_services

CANNOT_START = 2  # the exit status of a service whose settings or data do not allow a start


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detach", action="store_true", help="return once it is up and leave it running")
    chosen = parser.parse_args(arguments)
    config = StackConfig.read(os.environ)
    check_model(config)
    if chosen.detach:
        return detach(config)
    with hold_lock(config.state):
        check_ports(config)
        return Up(config, ensure_secrets(config.state)).run()


class Up:
    """One run of the stack, from its start to its end."""

    def __init__(self, config: StackConfig, secrets: Mapping[str, str]) -> None:
        environment = config.environment(secrets)
        self._config = config
        self._admin = Admin(config.gateway_url, environment["CHORUS_ADMIN_KEY"])
        self._services = read_services(config, environment)
        self._logs = Logs(config, [service.name for service in self._services])
        self._screen = Screen(self._logs, lambda text: print(text, flush=True))
        self._supervisor = Supervisor(self._services, environment, self._screen, self._start_bringing_up)
        self._failure: StackError | None = None

    def run(self) -> int:
        """Until Ctrl-C, SIGTERM or the end of a service; raises StackError for the last."""
        ready_path(self._config.state).unlink(missing_ok=True)
        self._supervisor.loop()
        self._logs.close()
        ready_path(self._config.state).unlink(missing_ok=True)
        if self._failure:
            raise self._failure
        if self._supervisor.ended:
            raise StackError(self._epitaph(self._supervisor.ended))
        print("Chorus has stopped.", flush=True)
        return 0

    def _start_bringing_up(self) -> None:
        """The main thread is honcho's."""
        threading.Thread(target=self._bring_up, daemon=True).start()

    def _bring_up(self) -> None:
        try:
            self._await_and_seed()
        except Stopped:
            pass
        except (StackError, OSError) as error:
            if not self._supervisor.stopping.is_set():
                self._failure = error if isinstance(error, StackError) else StackError(f"Chorus cannot start: {error}")
                os.kill(os.getpid(), signal.SIGTERM)

    def _await_and_seed(self) -> None:
        stopping, env_file = self._supervisor.stopping, self._config.env_file
        with progress("Starting Chorus") as step:
            await_healthy(self._services, self._logs, step, stopping)
            values = seed(
                self._admin, env_file, adapters=self._config.demo, note=lambda text: setattr(step, "note", text)
            )
        print(banner(self._config, values, env_file), flush=True)
        self._screen.talking = True
        ready_path(self._config.state).touch()

    def _epitaph(self, ended: Ended) -> str:
        log = self._logs.of(ended.service)
        name = "Redis" if ended.service == "redis" else f"The {ended.service.replace('-', ' ')}"
        how = "cannot start" if ended.status == CANNOT_START else f"ended ({_status(ended.status)})"
        said = log.complaint.removeprefix(f"chorus-{ended.service}: ").removeprefix(f"{ended.service}: ").rstrip(".")
        return f"{name} {how}{': ' if said else ''}{said} (log: {shown(log.path)})."


def check_model(config: StackConfig) -> None:
    if config.demo and not (DEMO / "model" / "config.json").exists():
        raise StackError(f"The demo's model is missing below {DEMO}; set CHORUS_MODEL to a model of your own.")


def _status(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


if __name__ == "__main__":
    try:
        use_fork()
        sys.exit(main(sys.argv[1:]))
    except StackError as error:
        sys.exit(f"chorus: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
