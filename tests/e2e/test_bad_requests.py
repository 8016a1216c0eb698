"""Bad requests get one clear sentence in OpenAI's shape, and the stack goes on."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.adapters import Adapter, upload
from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
CHAT = "/v1/chat/completions"
HELLO = {"model": "chorus-demo", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}


@pytest.fixture
def http(demo: Tenant) -> Iterator[httpx.Client]:
    with demo.http() as http:
        yield http
        assert http.post(CHAT, json=HELLO).status_code == 200  # one's bad input never disturbs the next


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"].endswith(".")
    assert "Traceback" not in answer.text
    return error


@pytest.mark.parametrize(
    "model",
    [
        "no-such-base",
        "chorus-demo@no-such-adapter",
        "chorus-demo@reverse:99",
        "chorus-demo@reverse:no-such-alias",
        "no-such-base@reverse",
        "chorus-demo@../reverse",
        "@",
    ],
)
def test_an_unknown_model_adapter_or_version(http: httpx.Client, model: str) -> None:
    error = error_of(http.post(CHAT, json=HELLO | {"model": model}), 404)
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert model in error["message"]


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("temperature", -1),
        ("temperature", "hot"),
        ("top_p", -0.1),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("n", 0),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("logit_bias", {"1": 101}),
        ("service_tier", "platinum"),
        ("messages", []),
        ("messages", None),
        ("messages", "hello"),
        ("stream_options", {"include_usage": True}),
    ],
    ids=str,
)
def test_a_wrong_field(http: httpx.Client, param: str, value: object) -> None:
    error = error_of(http.post(CHAT, json=HELLO | {param: value}), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param in error["message"]


@pytest.mark.parametrize("role", ["robot", "", None])
def test_a_message_of_an_unknown_role(http: httpx.Client, role: str | None) -> None:
    error = error_of(http.post(CHAT, json=HELLO | {"messages": [{"role": role, "content": "Hello!"}]}), 400)
    assert error["param"] == "messages.0.role"


def test_a_prompt_longer_than_the_context_is_told_both_numbers(http: httpx.Client) -> None:
    limit = 2048
    error = error_of(http.post("/v1/completions", json={"model": "chorus-demo", "prompt": [65] * (limit + 5)}), 400)
    assert error["code"] == "context_length_exceeded"
    assert str(limit) in error["message"]
    assert str(limit + 5) in error["message"]


def test_an_answer_that_cannot_fit_is_told_both_numbers(http: httpx.Client) -> None:
    error = error_of(http.post(CHAT, json=HELLO | {"max_tokens": 5000}), 400)
    assert error["param"] == "max_tokens"
    assert "2048" in error["message"]
    assert "5000" in error["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "body"),
        (b"{", "JSON"),
        (b"[]", "body"),
        (b'{"model": "chorus-demo", "messages": [{"role": "user", "content": "\xff"}]}', "UTF-8"),
        (b'{"model": "chorus-demo", "messages": [{"role": "user", "content": "\\ud800"}]}', "unicode"),
    ],
    ids=["empty", "half", "list", "not UTF-8", "half a surrogate pair"],
)
def test_a_body_that_is_none(http: httpx.Client, body: bytes, said: str) -> None:
    answer = http.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert said in error_of(answer, 400)["message"]


def test_a_body_over_the_limit(http: httpx.Client) -> None:
    limit = 8 << 20
    message = error_of(http.post(CHAT, content=b" " * (limit + 1)), 413)["message"]
    assert str(limit) in message


def test_a_body_over_the_limit_that_does_not_say_its_length(http: httpx.Client) -> None:
    error_of(http.post(CHAT, content=(b" " * (1 << 20) for _ in range(9))), 413)


@pytest.mark.parametrize("path", ["/v1/no-such-route", "/", "/v1/chat"])
def test_an_unknown_route(http: httpx.Client, path: str) -> None:
    assert path in error_of(http.get(path), 404)["message"]


def test_a_method_that_a_route_does_not_take(http: httpx.Client) -> None:
    error_of(http.get(CHAT), 405)


def test_a_stream_that_cannot_begin_is_an_answer_of_its_own(http: httpx.Client) -> None:
    error_of(http.post(CHAT, json=HELLO | {"stream": True, "model": "chorus-demo@nobody"}), 404)


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer",
        "Bearer sk-1234",
        "Basic ZGVtbzpkZW1v",
        "Bearer chorus_000000000000_" + "0" * 38,
        "Bearer chorus_' OR 1=1 --",
    ],
)
def test_a_request_without_a_good_key(stack: Stack, header: str | None) -> None:
    with stack.http() as http:
        answer = http.post(CHAT, json=HELLO, headers={} if header is None else {"authorization": header})
        error = error_of(answer, 401)
        assert error["code"] == "invalid_api_key"
        assert header is None or header.removeprefix("Bearer ") not in error["message"] or header == "Bearer"


def test_a_key_of_the_right_form_that_nobody_has(stack: Stack) -> None:
    from chorus_gateway.auth import generate_key

    with stack.http(generate_key().text) as http:
        error_of(http.post(CHAT, json=HELLO), 401)


def test_a_revoked_key(stack: Stack, new_tenant: Callable[[], Tenant]) -> None:
    tenant = new_tenant()
    with tenant.http() as http, stack.http(stack.admin.key) as admin:
        assert http.post(CHAT, json=HELLO).status_code == 200
        key_id = tenant.key.split("_")[1]
        assert admin.delete(f"/admin/v1/keys/{key_id}").status_code == 200
        error_of(http.post(CHAT, json=HELLO), 401)


def test_openai_raises_its_own_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no-such-base"):
        client.models.retrieve("no-such-base")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(
            model="chorus-demo", messages=[{"role": "user", "content": "Hello!"}], temperature=9
        )
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").models.list()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/v1/tenants"),
        ("POST", "/admin/v1/tenants"),
        ("POST", "/admin/v1/tenants/demo/keys"),
        ("DELETE", "/admin/v1/keys/000000000000"),
        ("GET", "/admin/v1/adapters"),
        ("POST", "/admin/v1/adapters"),
        ("DELETE", "/admin/v1/adapters/demo/reverse"),
    ],
)
def test_a_tenant_key_on_an_admin_route(http: httpx.Client, method: str, path: str) -> None:
    error_of(http.request(method, path), 403)


def test_an_admin_key_on_a_tenant_route(stack: Stack) -> None:
    with stack.http(stack.admin.key) as http:
        error_of(http.post(CHAT, json=HELLO), 403)


# --- other tenants ------------------------------------------------------------------------------------------------


def test_another_tenants_adapter_reads_like_one_that_does_not_exist(new_tenant: Callable[[], Tenant]) -> None:
    owner, other = new_tenant(), new_tenant()
    upload(owner, "secret", Adapter.random(seed=5))
    with owner.http() as http:
        assert http.post(CHAT, json=HELLO | {"model": "chorus-demo@secret"}).status_code == 200
    with other.http() as http:

        def refusal(name: str) -> tuple[str, dict[str, Any]]:
            answer = http.post(CHAT, json=HELLO | {"model": name})
            error = error_of(answer, 404)
            return error["message"].replace(name, "…"), {**error, "message": ""}

        none = refusal("chorus-demo@nothing")
        assert refusal("chorus-demo@secret") == none
        assert refusal(f"chorus-demo@{owner.name}/secret") == none
        assert refusal("secret") == none
        assert "secret" not in http.get("/v1/models").text
        theirs = error_of(http.get("/v1/models/chorus-demo@secret"), 404)["message"].replace("secret", "…")
        assert theirs == error_of(http.get("/v1/models/chorus-demo@nothing"), 404)["message"].replace("nothing", "…")
