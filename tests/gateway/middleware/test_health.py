from tests.gateway.support.door import Door


async def test_alive_needs_nothing(door: Door) -> None:
    door.engines.connected = False
    answer = await door.http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_when_database_and_an_engine_answer(door: Door) -> None:
    answer = await door.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "reasons": {}})


async def test_what_is_missing_is_named(door: Door) -> None:
    door.engines.connected = False
    await door.parts.readiness.ping_database()
    door.parts.readiness.draining = True
    answer = await door.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == {"gateway": "is shutting down", "engines": "no engine is connected"}


async def test_a_silent_database_is_named(door: Door) -> None:
    door.parts.keys._database._timeout = 0
    answer = await door.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == {"database": "does not answer"}


async def test_metrics_have_the_operators_names(door: Door) -> None:
    answer = await door.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in (
        "e2e_request_latency_seconds_bucket",
        "time_to_first_token_seconds_bucket",
        "time_per_output_token_seconds_bucket",
        "inter_token_latency_seconds_bucket",
        "request_queue_time_seconds_bucket",
        "prompt_tokens_total",
        "generation_tokens_total",
        "num_requests_waiting",
        "num_requests_running",
        "quota_degraded",
    ):
        assert f"\n{name}" in answer.text, name
    assert "# TYPE request_success_total counter" in answer.text
    assert "# TYPE http_requests_total counter" in answer.text


async def test_the_openapi_page_describes_routes_errors_and_the_key(door: Door) -> None:
    assert (await door.http.get("/docs")).status_code == 200
    page = (await door.http.get("/openapi.json")).json()
    assert page["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    upload = page["paths"]["/admin/v1/adapters"]["post"]
    assert set(upload["requestBody"]["content"]) == {"multipart/form-data"}
    assert {"200", "201", "400", "401", "403", "404", "409", "413", "503", "default"} <= set(upload["responses"])
    for path, methods in page["paths"].items():
        for operation in methods.values():
            assert "422" not in operation["responses"], path
            assert operation["summary"], path
            assert operation["tags"], path
            assert path.startswith(("/v1", "/admin", "/test")) == bool(operation.get("security")), path
