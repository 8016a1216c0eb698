"""Adapters into a running stack through the admin API, several uploads at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx

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
            answer = http.post("/admin/v1/adapters", **form(tenant, name, adapter))
            if not answer.is_success:
                raise RuntimeError(f"the upload of {name} failed: {answer.text}")
            uploaded()
            return name, str(answer.json()["digest"])

        return dict(pool.map(put, adapters))
