"""What a new stack holds: the tenant `demo`, its key and the demo's adapters. Run again, it changes nothing.

usage: python -m scripts.stack.seed [--without-adapters]

Reads CHORUS_GATEWAY_URL (http://127.0.0.1:8000), CHORUS_PUBLIC_URL (the same, as clients reach it), CHORUS_ADMIN_KEY
and CHORUS_ENV_FILE (.chorus/env), where the tenant's key is kept: the gateway shows it only once. Prints that file.
Standard library only, so that it runs in any image.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack import envfile
from scripts.stack.errors import StackError
from scripts.stack.http import Answer, ask, multipart

TENANT = "demo"
BASE = "chorus-demo"
ADAPTERS = Path(__file__).resolve().parents[2] / "examples" / "demo" / "adapters"
DEVELOPMENT = "DevelopmentOnly"  # in the secret of the key that compose.yaml carries
BASE_KNOWN_SECONDS = 30.0  # the store learns a base model from its engine within a second or two


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin API, as far as a new stack needs it. Methods raise StackError with the gateway's own sentence."""

    url: str
    key: str

    def ensure_tenant(self, tenant: str) -> None:
        if self._ask("GET", f"/admin/v1/tenants/{tenant}").status == 404:
            self._done(self._ask("POST", "/admin/v1/tenants", {"id": tenant}), f"make tenant {tenant}")

    def create_key(self, tenant: str, name: str) -> str:
        answer = self._ask("POST", f"/admin/v1/tenants/{tenant}/keys", {"name": name})
        return str(self._done(answer, f"make a key for tenant {tenant}")["key"])

    def digests(self, tenant: str) -> set[tuple[str, str]]:
        """(name, digest) of every generation."""
        listed = self._done(self._ask("GET", f"/admin/v1/adapters?tenant={tenant}"), "list the adapters")
        return {(adapter["name"], adapter["digest"]) for adapter in listed["data"]}

    def upload(self, tenant: str, name: str, model: str, folder: Path) -> None:
        fields = {"tenant": tenant, "name": name, "model": model}
        body, content_type = multipart(fields, adapter_files(folder))
        url = f"{self.url}/admin/v1/adapters"
        until = time.monotonic() + BASE_KNOWN_SECONDS
        while True:
            answer = ask("POST", url, key=self.key, body=body, content_type=content_type, timeout=120)
            if answer.status not in (409, 503) or time.monotonic() > until:
                break
            time.sleep(0.5)  # its base model is not known yet
        self._done(answer, f"upload adapter {name}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        content = None if body is None else json.dumps(body).encode()
        return ask(method, self.url + path, key=self.key, body=content)

    def _done(self, answer: Answer, what: str) -> Any:
        if not answer.ok:
            raise StackError(f"The gateway refused to {what}: {answer.message}")
        return answer.json()


def seed(
    admin: Admin, env_file: Path, *, adapters: bool, note: Callable[[str], None], public_url: str = ""
) -> dict[str, str]:
    """What `env_file` then says. `note` hears what is being done."""
    admin.ensure_tenant(TENANT)
    key = envfile.read(env_file).get("CHORUS_API_KEY", "")
    if not key or ask("GET", f"{admin.url}/v1/models", key=key).status == 401:
        key = admin.create_key(TENANT, "first key")
    values = {"CHORUS_BASE_URL": f"{public_url or admin.url}/v1", "CHORUS_API_KEY": key, "CHORUS_ADMIN_KEY": admin.key}
    envfile.write(env_file, values)
    if adapters:
        known = admin.digests(TENANT)
        for folder in adapter_folders():
            if (folder.name, adapter_digest(folder)) not in known:
                note(f"uploading {folder.name}")
                admin.upload(TENANT, folder.name, BASE, folder)
    return values


def adapter_folders() -> list[Path]:
    return sorted(path.parent for path in ADAPTERS.glob("*/adapter_config.json"))


def adapter_files(folder: Path) -> dict[str, Path]:
    return {
        "adapter_config": folder / "adapter_config.json",
        "adapter_model": folder / "adapter_model.safetensors",
    }


def adapter_digest(folder: Path) -> str:
    """As the adapter store computes it: over the digests of the two files."""
    parts = (hashlib.sha256(path.read_bytes()).digest() for path in adapter_files(folder).values())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without-adapters", action="store_true", help="make the tenant and its key alone")
    chosen = parser.parse_args(arguments)
    url = os.environ.get("CHORUS_GATEWAY_URL", "http://127.0.0.1:8000")
    admin = Admin(url, os.environ.get("CHORUS_ADMIN_KEY", ""))
    if DEVELOPMENT in admin.key:
        _say("These keys and secrets are for development; docs/operations.md says how to set others.")
    values = seed(
        admin,
        Path(os.environ.get("CHORUS_ENV_FILE", ".chorus/env")),
        adapters=not chosen.without_adapters,
        note=_say,
        public_url=os.environ.get("CHORUS_PUBLIC_URL", ""),
    )
    for name, value in values.items():
        print(f"{name}={value}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except StackError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"The gateway does not answer: {error}")
