"""An adapter that lies in a bucket, taken over by one request and answering in the next."""

from collections.abc import Callable

import httpx
import pytest

from scripts.stack.config import DEMO
from tests.adapter_store.s3 import S3Server
from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
FILES = ("adapter_config.json", "adapter_model.safetensors")


def take(stack: Stack, tenant: Tenant, source: str) -> httpx.Response:
    body = {"tenant": tenant.name, "name": "mine", "model": "chorus-demo", "source": source}
    with stack.http(stack.admin.key) as http:
        return http.post("/admin/v1/adapters/import", json=body)


def test_an_imported_adapter_answers(stack: Stack, new_tenant: Callable[[], Tenant], s3: S3Server) -> None:
    tenant = new_tenant()
    for name in FILES:
        s3.put("models", f"voices/reverse/{name}", (DEMO / "adapters" / "reverse" / name).read_bytes())
    answers = [take(stack, tenant, "s3://models/voices/reverse") for _ in range(2)]
    assert [each.status_code for each in answers] == [201, 200], answers[0].text
    assert answers[0].json() == answers[1].json()
    with tenant.client() as client:
        prompt = "Reverse the word garden."
        completion = client.chat.completions.create(
            model="chorus-demo@mine", messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=24
        )
    assert completion.choices[0].message.content == "nedrag"


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        ("s3://models/absent", 404, "s3://models/absent/adapter_config.json does not exist"),
        ("s3://secrets/reverse", 400, "is not below a bucket that CHORUS_IMPORT_BUCKETS names"),
        ("http://169.254.169.254/latest", 400, "is no s3://bucket/prefix"),
    ],
)
def test_what_cannot_be_imported_is_said_in_one_sentence(
    stack: Stack, new_tenant: Callable[[], Tenant], source: str, status: int, words: str
) -> None:
    found = take(stack, new_tenant(), source)
    assert found.status_code == status
    assert words in found.json()["error"]["message"]
