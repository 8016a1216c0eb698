"""/v1/files."""

import time
from typing import Any

import httpx
import pytest
from sqlalchemy import event, func, select

from chorus_gateway.db import Database, file_chunks
from chorus_gateway.db import files as table
from chorus_gateway.errors import QuotaExceeded
from chorus_gateway.files import FileLimits, FileStore, Sweeper
from chorus_gateway.files.upload import CHECKED, CHUNK
from tests.gateway.files.conftest import LIMITS, Desk
from tests.gateway.support.batches import age_file

NOBODY = "file-" + 32 * "0"


async def upload(http: httpx.AsyncClient, content: bytes = b"{}\n", **fields: Any) -> httpx.Response:
    data = {"purpose": "batch"} | fields
    return await http.post("/v1/files", files={"file": ("in.jsonl", content)}, data=data)


async def chunks(desk: Desk) -> int:
    async with desk.database.session() as session:
        return int(await session.scalar(select(func.count()).select_from(file_chunks)) or 0)


async def test_a_file_comes_back_as_it_was_sent(any_desk: Desk) -> None:
    content = bytes(range(256)) * (CHUNK * 2 // 256) + b"end"
    async with any_desk.http() as http:
        made = (await upload(http, content)).json()
        assert made.pop("created_at") == pytest.approx(time.time(), abs=60)
        assert made.pop("expires_at") == pytest.approx(time.time() + 30 * 86400, abs=60)
        file_id = made.pop("id")
        assert made == {
            "object": "file",
            "bytes": len(content),
            "filename": "in.jsonl",
            "purpose": "batch",
            "status": "processed",
        }
        assert (await http.get(f"/v1/files/{file_id}")).json()["bytes"] == len(content)
        assert (await http.get(f"/v1/files/{file_id}/content")).content == content


@pytest.mark.parametrize("content", [b"", b"x"])
async def test_small_files(desk: Desk, content: bytes) -> None:
    async with desk.http() as http:
        made = (await upload(http, content)).json()
        answer = await http.get(f"/v1/files/{made['id']}/content")
        assert (made["bytes"], answer.content) == (len(content), content)


async def test_parts_may_come_in_any_order(desk: Desk) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    parts = [part % (b"file", b'; filename="x"', b"{}"), part % (b"purpose", b"", b"batch")]
    headers = {"content-type": "multipart/form-data; boundary=b"}
    async with desk.http() as http:
        for body in (b"".join(parts), b"".join(reversed(parts))):
            assert (await http.post("/v1/files", content=body + b"--b--\r\n", headers=headers)).status_code == 200
        cut = await http.post("/v1/files", content=parts[0], headers=headers)
        assert cut.status_code == 400
        assert len((await http.get("/v1/files")).json()["data"]) == 2


async def test_another_tenants_file_reads_like_none(any_desk: Desk) -> None:
    async with any_desk.http() as mine, any_desk.http("other") as other:
        file_id = (await upload(mine)).json()["id"]
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            theirs = await other.request(method, f"/v1/files/{file_id}{path}")
            none = await other.request(method, f"/v1/files/{NOBODY}{path}")
            assert theirs.status_code == none.status_code == 404
            assert theirs.json()["error"]["message"].replace(file_id, NOBODY) == none.json()["error"]["message"]
        assert (await other.get("/v1/files")).json()["data"] == []
        assert (await other.get("/v1/files", params={"after": file_id})).status_code == 400
        wanted = {"input_file_id": file_id, "endpoint": "/v1/completions", "completion_window": "24h"}
        assert (await other.post("/v1/batches", json=wanted)).status_code == 404
        assert (await mine.get(f"/v1/files/{file_id}")).status_code == 200


@pytest.mark.parametrize("key", ["", "nobody", "admin"])
async def test_whoever_has_no_tenants_key_is_refused_before_anything_is_read(desk: Desk, key: str) -> None:
    async with desk.http(key) as http:
        assert (await upload(http)).status_code == (403 if key == "admin" else 401)
        assert (await http.get("/v1/files")).status_code == (403 if key == "admin" else 401)
    assert await chunks(desk) == 0


@pytest.mark.parametrize("file_id", ["x", "%00", "file-%00", "file-" + "z" * 32, "file-" + "a" * 1000, "%ED%A0%80"])
async def test_ids_that_are_none(desk: Desk, file_id: str) -> None:
    async with desk.http() as http:
        assert (await http.get(f"/v1/files/{file_id}")).status_code == 404
        assert (await http.delete(f"/v1/files/{file_id}")).status_code == 404
        assert (await http.get(f"/v1/batches/{file_id}")).status_code == 404


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"purpose": "x" * 2000}, "purpose"),
        ({"extra": "1"}, "extra"),
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "expires_after[anchor]"),
        ({"expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "expires_after[seconds]"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "²"}, "expires_after[seconds]"),
    ],
)
async def test_fields_that_are_wrong_are_named(desk: Desk, fields: dict[str, Any], param: str) -> None:
    async with desk.http() as http:
        answer = await upload(http, **fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert (await http.post("/v1/files", json={})).status_code == 400
        assert (await http.get("/v1/files")).json()["data"] == []


async def test_limits_of_a_file_and_of_all(any_desk: Desk) -> None:
    async with any_desk.http() as http, any_desk.http("other") as other:
        assert (await upload(http, bytes(LIMITS.file + 1))).status_code == 413
        kept = (await upload(http, bytes(LIMITS.file))).json()["id"]
        answer = await upload(http, bytes(LIMITS.file))
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"
        assert (await upload(other, bytes(LIMITS.file))).status_code == 200, "each tenant has its own"
        await http.delete(f"/v1/files/{kept}")
        assert (await upload(http, bytes(LIMITS.file))).status_code == 200
        assert len((await http.get("/v1/files")).json()["data"]) == 1


async def test_how_many_files_a_tenant_may_have(any_desk: Desk) -> None:
    async with any_desk.http() as http, any_desk.http("other") as other:
        made = [(await upload(http, b"")).json()["id"] for _ in range(LIMITS.count)]
        answer = await upload(http, b"")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (429, "insufficient_quota")
        assert "at most 5 files and would have 6; delete some" in error["message"]
        assert (await upload(other, b"")).status_code == 200, "each tenant has its own"
        await http.delete(f"/v1/files/{made[0]}")
        assert (await upload(http, b"")).status_code == 200


async def test_all_of_a_tenants_files_are_seldom_looked_at(database: Database) -> None:
    """And before a file is shown once more."""
    sums: list[str] = []

    def executed(*arguments: Any) -> None:
        sums.extend(each for each in arguments if isinstance(each, str) and "sum(" in each)

    event.listen(database.engine.sync_engine, "before_cursor_execute", executed)
    upload = FileStore(database, FileLimits(tenant=20 * CHUNK)).upload("acme")
    await upload.write(bytes(2 * CHECKED * CHUNK - 1))
    assert len(sums) == 2
    with pytest.raises(QuotaExceeded, match="would have"):
        await upload.finish("in.jsonl", "batch", None)
    assert len(sums) == 3


async def test_lists_come_in_pages(any_desk: Desk) -> None:
    async with any_desk.http() as http:
        made = [(await upload(http)).json()["id"] for _ in range(5)]
        for order, expected in (("asc", made), ("desc", made[::-1])):
            found: list[str] = []
            params: dict[str, Any] = {"limit": 2, "order": order}
            while True:
                page = (await http.get("/v1/files", params=params)).json()
                found += [each["id"] for each in page["data"]]
                assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
                if not page["has_more"]:
                    break
                params["after"] = page["last_id"]
            assert found == expected
        assert (await http.get("/v1/files", params={"purpose": "batch_output"})).json()["data"] == []
        assert (await http.get("/v1/files", params={"purpose": "vision\0"})).json()["data"] == []
        assert (await http.get("/v1/files", params={"limit": 0})).status_code == 400
        assert (await http.get("/v1/files", params={"order": "up"})).status_code == 400


async def test_what_nobody_sees_is_swept(any_desk: Desk) -> None:
    sweeper = Sweeper(any_desk.database)
    async with any_desk.http() as http:
        kept, deleted, expired = [(await upload(http, bytes(2 * CHUNK))).json()["id"] for _ in range(3)]
        await http.delete(f"/v1/files/{deleted}")
        await age_file(any_desk.database, expired, expires_at=time.time() - 1)
        assert (await http.get(f"/v1/files/{expired}")).status_code == 404
        left = any_desk.files.upload("acme")
        await left.write(bytes(CHUNK))
        assert await sweeper.sweep() == 2
        await age_file(any_desk.database, left.id, touched_at=time.time() - 3600)
        assert await sweeper.sweep() == 1
        assert (await http.get(f"/v1/files/{kept}/content")).content == bytes(2 * CHUNK)
    assert await chunks(any_desk) == 2
    async with any_desk.database.session() as session:
        assert list(await session.scalars(select(table.c.id))) == [kept]
