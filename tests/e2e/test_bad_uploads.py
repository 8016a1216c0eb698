"""Bad uploads are refused by field, value and limit, and leave no trace."""

import io
import json
import pickle
import socket
import struct
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from tests.support.adapters import HIDDEN, QUERY, Adapter, blob_files, random_weights, stored, try_upload
from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
GOOD = Adapter.random()
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


def with_value(value: float) -> bytes:
    weights = random_weights(0, 4)
    weights[f"{Q_PROJ}.lora_A.weight"][1, 2] = value
    return save(weights)


def without(name: str) -> bytes:
    weights = random_weights(0, 4)
    del weights[name]
    return save(weights)


def header_of(weights: bytes, **changes: object) -> bytes:
    """The same tensors under a header that says something else of the first one."""
    (size,) = struct.unpack_from("<Q", weights)
    header = json.loads(weights[8 : 8 + size])
    first = next(name for name in header if name != "__metadata__")
    header[first] |= changes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + weights[8 + size :]


def pickled() -> bytes:
    out = io.BytesIO()
    pickle.dump({"weights": [1.0, 2.0]}, out)
    return out.getvalue()


BAD: dict[str, tuple[Adapter, tuple[str, ...]]] = {
    "truncated weights": (GOOD.with_weights(GOOD.weights[:-100]), ("adapter_model.safetensors",)),
    "only a header's length": (GOOD.with_weights(GOOD.weights[:8]), ("adapter_model.safetensors",)),
    "bytes after the tensors": (GOOD.with_weights(GOOD.weights + pickled()), ("adapter_model.safetensors",)),
    "a pickle": (GOOD.with_weights(pickled()), ("adapter_model.safetensors",)),
    "a header of 2^62 bytes": (GOOD.with_weights(struct.pack("<Q", 1 << 62) + b"{}"), (str(1 << 62),)),
    "an unknown dtype": (GOOD.with_weights(header_of(GOOD.weights, dtype="F7")), ("F7",)),
    "offsets that overlap": (GOOD.with_weights(header_of(GOOD.weights, data_offsets=[0, 4])), (Q_PROJ,)),
    "a wrong shape": (
        GOOD.with_weights(save(random_weights(0, 4, queries=QUERY + 8))),
        ("q_proj", str(QUERY + 8), str(QUERY)),
    ),
    "rank 65": (Adapter.random(rank=65), ("65", "64")),
    "a rank that its config does not say": (GOOD.with_config(r=8), ("8", "4")),
    "rank 0": (GOOD.with_config(r=0), ("r", "0")),
    "NaN": (GOOD.with_weights(with_value(float("nan"))), (f"{Q_PROJ}.lora_A.weight",)),
    "infinity": (GOOD.with_weights(with_value(float("inf"))), (f"{Q_PROJ}.lora_A.weight",)),
    "an A without its B": (
        GOOD.with_weights(without(f"{Q_PROJ}.lora_B.weight")),
        ("layers.0.self_attn.q_proj", "lora_B"),
    ),
    "no tensor at all": (GOOD.with_weights(save({})), ()),
    "zero matching modules": (
        GOOD.with_config(target_modules=["query"]).with_weights(save(random_weights(0, 4, infix="no_such_block"))),
        (),
    ),
    "DoRA": (GOOD.with_config(use_dora=True), ("use_dora",)),
    "modules_to_save": (GOOD.with_config(modules_to_save=["lm_head"]), ("modules_to_save",)),
    "bias": (GOOD.with_config(bias="all"), ("bias",)),
    "another method than LoRA": (GOOD.with_config(peft_type="IA3"), ("peft_type", "IA3")),
    "a config that is no JSON": (Adapter(b"{", GOOD.weights), ("adapter_config.json",)),
    "a config that is no UTF-8": (Adapter(b'{"r": "\xff"}', GOOD.weights), ("adapter_config.json",)),
    "an empty file": (Adapter(GOOD.config, b""), ("adapter_model",)),
}


@pytest.fixture
def tenant(new_tenant: Callable[[], Tenant]) -> Tenant:
    return new_tenant()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_upload_is_refused_and_leaves_no_trace(stack: Stack, tenant: Tenant, name: str) -> None:
    adapter, words = BAD[name]
    before = blob_files(stack)
    answer = try_upload(stack, tenant.name, "bad", adapter)
    assert answer.status_code == 400, answer.text
    message = answer.json()["error"]["message"]
    assert all(word in message for word in words), message
    assert stored(stack, tenant.name) == []
    assert blob_files(stack) == before
    with tenant.http() as http:
        assert "bad" not in http.get("/v1/models").text


def test_an_adapter_for_a_base_that_is_not_served(stack: Stack, tenant: Tenant) -> None:
    answer = try_upload(stack, tenant.name, "stray", GOOD, model="no-such-base")
    assert answer.status_code in (400, 404, 409)
    assert "no-such-base" in answer.json()["error"]["message"]


def test_an_adapter_trained_on_another_base(stack: Stack, tenant: Tenant) -> None:
    """Of a base with another hidden size, uploaded for this one."""
    weights = {
        name: np.zeros((4, HIDDEN * 2), np.float32) if "lora_A" in name else tensor
        for name, tensor in random_weights(0, 4).items()
    }
    answer = try_upload(stack, tenant.name, "stray", GOOD.with_weights(save(weights)))
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert str(HIDDEN * 2) in message
    assert str(HIDDEN) in message


def test_an_upload_for_a_tenant_that_is_not_there(stack: Stack) -> None:
    answer = try_upload(stack, "nobody", "stray", GOOD)
    assert answer.status_code == 404
    assert "nobody" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["Upper", "", "a/b", "a:b", "../x", "x" * 65])
def test_a_name_that_no_adapter_can_have(stack: Stack, tenant: Tenant, name: str) -> None:
    answer = try_upload(stack, tenant.name, name, GOOD)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "name"


@pytest.mark.parametrize("missing", ["tenant", "name", "model"])
def test_a_form_without_a_field(stack: Stack, tenant: Tenant, missing: str) -> None:
    fields = {"tenant": tenant.name, "name": "mine", "model": "chorus-demo"}
    del fields[missing]
    with stack.http(stack.admin.key) as http:
        answer = http.post("/admin/v1/adapters", data=fields, files={"adapter_config": ("c", GOOD.config)})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == missing


def test_an_upload_cut_off_half_way_leaves_no_trace(stack: Stack, tenant: Tenant) -> None:
    before = blob_files(stack)
    request = httpx.Request(
        "POST",
        f"{stack.url}/admin/v1/adapters",
        headers={"authorization": f"Bearer {stack.admin.key}"},
        data={"tenant": tenant.name, "name": "half", "model": "chorus-demo"},
        files={"adapter_config": ("c", GOOD.config), "adapter_model": ("w", GOOD.weights)},
    )
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    address = urlsplit(stack.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(f"POST /admin/v1/adapters HTTP/1.1\r\n{head}\r\n".encode() + body[: len(body) // 2])
        time.sleep(0.3)  # until it has come through to the store
    until = time.monotonic() + 60
    while blob_files(stack) != before and time.monotonic() < until:
        time.sleep(0.05)
    assert blob_files(stack) == before
    assert stored(stack, tenant.name) == []
