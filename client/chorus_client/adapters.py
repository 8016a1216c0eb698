"""Adapters: how they come, what is known of them, and how they go."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx

from chorus_client.files import CONFIG, WEIGHTS, AdapterFiles, Progress, download, opened
from chorus_client.reading import read, read_list
from chorus_client.transport import Transport, path
from chorus_client.values import Adapter, Residency, Resident, Transition, Upload, Visibility

PAGE_SIZE = 500
VALIDATED = httpx.Timeout(900.0, connect=5.0)  # the answer comes when the bytes are checked and durable


class Adapters:
    """Every method raises ChorusError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(
        self,
        tenant: str,
        name: str,
        model: str,
        files: "AdapterFiles | str | os.PathLike[str]",
        *,
        progress: Progress | None = None,
    ) -> Upload:
        """A new generation of the name, which `latest` then points at. `files` may be the folder that PEFT wrote.
        The same bytes again are the generation that they were: an upload may be repeated. OSError when a file cannot be
        read."""
        found = files if isinstance(files, AdapterFiles) else AdapterFiles.below(files)
        form = {"tenant": tenant, "name": name, "model": model}
        with opened(found, progress) as parts:
            status, answer = self._transport.answered(
                "POST", path("adapters"), data=form, files=parts, timeout=VALIDATED
            )
        return Upload(read(Adapter, answer), created=status == 201)

    def import_from(self, source: str, *, tenant: str, name: str, model: str) -> Upload:
        """As an upload, of two files below `s3://bucket/prefix`, in a bucket that the store may read."""
        body = {"tenant": tenant, "name": name, "model": model, "source": source}
        status, answer = self._transport.answered("POST", path("adapters", "import"), json=body, timeout=VALIDATED)
        return Upload(read(Adapter, answer), created=status == 201)

    def list(self, tenant: str = "", *, deleted: bool = False, page_size: int = PAGE_SIZE) -> Iterator[Adapter]:
        """A tenant's generations, or everyone's: by owner and name, newest first. Pages are fetched as they are wanted.
        `deleted`: those too that can be restored."""
        page: str | None = ""
        while page is not None:
            query = {"tenant": tenant, "deleted": deleted, "limit": page_size, "page": page}
            answer = self._transport.json("GET", path("adapters"), params=query)
            yield from read_list(Adapter, answer)
            page = answer.get("next_page")

    def get(self, tenant: str, name: str, generation: int) -> Adapter:
        """Whatever its state, until it is gone."""
        return read(Adapter, self._transport.json("GET", _generation(tenant, name, generation)))

    def download(
        self,
        tenant: str,
        name: str,
        generation: int,
        folder: "str | os.PathLike[str]",
        *,
        progress: Progress | None = None,
    ) -> AdapterFiles:
        """What was uploaded, byte for byte. Damaged, with nothing written, unless the files hash to the adapter's
        digest."""
        adapter = self.get(tenant, name, generation)
        base = _generation(tenant, name, generation)
        routes = {file: f"{base}/files/{file}" for file in (CONFIG, WEIGHTS)}
        return download(self._transport, routes, adapter.digest, adapter.bytes, Path(folder), progress)

    def history(self, tenant: str, name: str) -> tuple[Transition, ...]:
        """What became of the name's uploads and generations, newest first: refused uploads too, with the reason."""
        return read_list(Transition, self._transport.json("GET", path("adapters", tenant, name, "history")))

    def set_visibility(
        self, tenant: str, name: str, visibility: Visibility, shared_with: Iterable[str] = ()
    ) -> Adapter:
        """Who else may use it, instead of whoever could before. `shared_with`: tenants, with SHARED alone."""
        body = {"visibility": visibility, "shared_with": [*shared_with]}
        return read(Adapter, self._transport.json("PUT", path("adapters", tenant, name, "visibility"), json=body))

    def retire(self, tenant: str, name: str, generation: int, *, reason: str = "") -> Adapter:
        """No new request may use it. Conflict while an alias other than `latest` points at it."""
        route = f"{_generation(tenant, name, generation)}/retire"
        return read(Adapter, self._transport.json("POST", route, json={"reason": reason}))

    def delete(self, tenant: str, name: str, generation: int | None = None, *, reason: str = "") -> int:
        """One generation or all: how many went. They can be restored for a while."""
        query = {"reason": reason} | ({} if generation is None else {"generation": str(generation)})
        answer = self._transport.json("DELETE", path("adapters", tenant, name), params=query)
        return read(int, answer["deleted"])

    def restore(self, tenant: str, name: str, generation: int | None = None) -> int:
        """A deleted or retired generation, or all deleted ones: how many are back."""
        query = {} if generation is None else {"generation": generation}
        answer = self._transport.json("POST", path("adapters", tenant, name, "restore"), params=query)
        return read(int, answer["restored"])

    def residency(self, tenant: str, name: str, generation: int | None = None) -> Residency:
        """Engines that hold a generation, or without one whatever `latest` points at."""
        query = {} if generation is None else {"generation": generation}
        answer = self._transport.json("GET", path("adapters", tenant, name, "residency"), params=query)
        return Residency(answer["generation"], answer["digest"], read_list(Resident, answer))


def _generation(tenant: str, name: str, generation: int) -> str:
    return path("adapters", tenant, name, "generations", generation)
