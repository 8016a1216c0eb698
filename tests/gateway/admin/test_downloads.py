"""Files as they were uploaded, through the whole application and a real socket."""

import hashlib

import httpx
import pytest

from chorus_gateway.values import Scope
from tests.adapter_store.support import make_upload
from tests.gateway.admin.test_adapters_api import PATH, upload
from tests.gateway.support.door import Door
from tests.gateway.support.fake_store import FETCH_BYTES, FakeStore
from tests.gateway.support.gateway import served

FILES = {
    "adapter_config.json": make_upload().config_bytes,
    "adapter_model.safetensors": make_upload().weights_bytes,
}


@pytest.fixture
async def stocked(door: Door) -> Door:
    await door.tenant_key("acme")
    await upload(door, "acme", "sql")
    return door


async def test_files_come_back_byte_for_byte(stocked: Door) -> None:
    own = await stocked.tenant_key("acme", Scope.ADAPTERS)
    for headers in (stocked.admin, own):
        for name, content in FILES.items():
            answer = await stocked.http.get(f"{PATH}/acme/sql/generations/1/files/{name}", headers=headers)
            assert (answer.status_code, answer.content) == (200, content)
            assert answer.headers["content-length"] == str(len(content))
            assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
            assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
            assert answer.headers["content-type"] == "application/octet-stream"
    assert len(FILES["adapter_model.safetensors"]) > 3 * FETCH_BYTES


async def test_one_generation_is_shown(stocked: Door) -> None:
    answer = await stocked.http.get(f"{PATH}/acme/sql/generations/1", headers=stocked.admin)
    assert (answer.status_code, answer.json()["generation"], answer.json()["state"]) == (200, 1, "published")


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        ("/acme/sql/generations/2", 404, None),
        ("/acme/sql/generations/2/files/adapter_config.json", 404, None),
        ("/acme/none/generations/1/files/adapter_config.json", 404, None),
        ("/acme/sql/generations/0/files/adapter_config.json", 400, "generation"),
        ("/acme/sql/generations/1/files/config.json", 400, "file"),
    ],
)
async def test_what_is_not_there(stocked: Door, path: str, status: int, param: str | None) -> None:
    answer = await stocked.http.get(PATH + path, headers=stocked.admin)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_nobody_downloads_anothers(stocked: Door) -> None:
    other = await stocked.tenant_key("rival", Scope.ADAPTERS)
    infer = await stocked.tenant_key("acme", Scope.INFER)
    for headers in (other, infer):
        for path in ("/acme/sql/generations/1", "/acme/sql/generations/1/files/adapter_config.json"):
            assert (await stocked.http.get(PATH + path, headers=headers)).status_code == 403


async def test_a_damaged_file_ends_short(stocked: Door, fake_store: FakeStore) -> None:
    fake_store.damaged.add(fake_store.adapters[0].digest)
    content = bytearray()

    async def download(http: httpx.AsyncClient, url: str) -> None:
        async with http.stream("GET", url, headers=stocked.admin) as answer:
            async for chunk in answer.aiter_bytes():
                content.extend(chunk)

    async with served(stocked.app) as url, httpx.AsyncClient() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await download(http, f"{url}{PATH}/acme/sql/generations/1/files/adapter_model.safetensors")
    assert len(content) < len(FILES["adapter_model.safetensors"])
