"""Adapters into a running stack through the admin API, several uploads at once."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx

from scripts.stack.seed import BASE_KNOWN_SECONDS
from tests.support.adapters import Adapter, form
from tests.support.stack import Stack

AT_ONCE = 3


def register(
    stack: Stack, tenant: str, adapters: Iterable[tuple[str, Adapter]], uploaded: Callable[[], None]
) -> dict[str, str]:
    """Digests by name."""
    headers = {"authorization": f"Bearer {stack.admin.key}"}
    with (
        httpx.Client(base_url=stack.url, headers=headers, timeout=60, trust_env=False) as http,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def put(named: tuple[str, Adapter]) -> tuple[str, str]:
            name, adapter = named
            until = time.monotonic() + BASE_KNOWN_SECONDS
            while True:
                answer = http.post("/admin/v1/adapters", **form(tenant, name, adapter))
                if answer.status_code not in (409, 503) or time.monotonic() > until:
                    break
                time.sleep(0.2)  # its base model is not known yet
            if not answer.is_success:
                raise RuntimeError(f"the upload of {name} failed: {answer.text}")
            uploaded()
            return name, str(answer.json()["digest"])

        return dict(pool.map(put, adapters))
