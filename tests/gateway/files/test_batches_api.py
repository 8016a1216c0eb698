"""/v1/batches; what works on them is in tests/gateway/batches."""

from typing import Any

import httpx
import pytest

from chorus_gateway.batches import store
from tests.gateway.files.conftest import Desk
from tests.gateway.files.test_files_api import upload


async def create(http: httpx.AsyncClient, file_id: str, **fields: Any) -> httpx.Response:
    wanted = {"input_file_id": file_id, "endpoint": "/v1/completions", "completion_window": "24h"}
    return await http.post("/v1/batches", json=wanted | fields)


async def test_a_new_batch(any_desk: Desk) -> None:
    async with any_desk.http() as http:
        file_id = (await upload(http)).json()["id"]
        made = (await create(http, file_id, metadata={"job": "nightly"}, store=True)).json()
        assert made["expires_at"] - made["created_at"] == 24 * 3600
        assert {name: made[name] for name in made.keys() - {"id", "created_at", "expires_at"}} == {
            "object": "batch",
            "endpoint": "/v1/completions",
            "input_file_id": file_id,
            "completion_window": "24h",
            "status": "validating",
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "usage": {
                "input_tokens": 0,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 0,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 0,
            },
            "metadata": {"job": "nightly"},
        }
        assert any_desk.woken == 1
        assert (await http.get(f"/v1/batches/{made['id']}")).json() == made


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
        ({"input_file_id": 3}, "input_file_id"),
    ],
)
async def test_fields_that_are_wrong_are_named(desk: Desk, fields: dict[str, Any], param: str) -> None:
    async with desk.http() as http:
        answer = await create(http, (await upload(http)).json()["id"], **fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not desk.woken


async def test_a_tenant_without_the_tier_has_no_batches(desk: Desk) -> None:
    async with desk.http("hasty") as http:
        answer = await create(http, (await upload(http)).json()["id"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "service_tier_not_allowed")


async def test_another_tenants_batch_reads_like_none(desk: Desk) -> None:
    async with desk.http() as mine, desk.http("other") as other:
        batch_id = (await create(mine, (await upload(mine)).json()["id"])).json()["id"]
        assert (await other.get(f"/v1/batches/{batch_id}")).status_code == 404
        assert (await other.post(f"/v1/batches/{batch_id}/cancel")).status_code == 404
        assert (await other.get("/v1/batches")).json()["data"] == []
        assert (await other.get("/v1/batches", params={"after": batch_id})).status_code == 400


async def test_an_input_stays_until_its_batch_is_over(any_desk: Desk) -> None:
    async with any_desk.http() as http:
        file_id = (await upload(http)).json()["id"]
        batch_id = (await create(http, file_id)).json()["id"]
        assert (await http.delete(f"/v1/files/{file_id}")).status_code == 409
        cancelled = [(await http.post(f"/v1/batches/{batch_id}/cancel")).json() for _ in range(2)]
        assert cancelled[0] == cancelled[1]
        assert cancelled[0]["status"] == "cancelling"
        assert cancelled[0]["cancelling_at"]


async def test_lists_come_in_pages_and_open_batches_are_bounded(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_OPEN", 3)
    async with any_desk.http() as http:
        assert (await http.get("/v1/batches")).json() == {"object": "list", "data": [], "has_more": False}
        file_id = (await upload(http)).json()["id"]
        made = [(await create(http, file_id)).json()["id"] for _ in range(3)]
        assert (await create(http, file_id)).status_code == 429
        first = (await http.get("/v1/batches", params={"limit": 2})).json()
        rest = (await http.get("/v1/batches", params={"limit": 2, "after": first["last_id"]})).json()
        assert [each["id"] for each in first["data"] + rest["data"]] == made[::-1]
        assert (first["has_more"], rest["has_more"]) == (True, False)
