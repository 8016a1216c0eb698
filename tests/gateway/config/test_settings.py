import pytest

from chorus_gateway.auth import generate_key
from chorus_gateway.config import Settings, load_settings
from chorus_gateway.errors import StartError

REQUIRED = {
    "CHORUS_SERVICE_TOKEN": "a service token of tests",
    "CHORUS_KEY_PEPPER": "a pepper for all tests",
    "CHORUS_NAMESPACE_SECRET": "a namespace secret of tests",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for field in Settings.model_fields:
        monkeypatch.delenv(f"CHORUS_{field.upper()}", raising=False)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


def test_defaults() -> None:
    settings = load_settings()
    assert (settings.gateway_host, settings.gateway_port) == ("127.0.0.1", 8000)
    assert settings.redis_url == "redis://127.0.0.1:8005/0"
    assert settings.store_address == "127.0.0.1:8003"
    assert settings.gateway_database_url == "sqlite+aiosqlite:///.chorus/gateway.db"
    assert settings.admin_key is None
    assert settings.otlp_endpoint is None
    assert settings.static_engines == ()


def test_environment_and_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHORUS_GATEWAY_PORT", "9000")
    monkeypatch.setenv("CHORUS_ENGINE_ADDRESSES", "a:1, b:2,")
    monkeypatch.setenv("CHORUS_ADMIN_KEY", "")  # as compose passes what is not set
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    settings = load_settings(["--gateway-port", "9100", "--log-level", "DEBUG"])
    assert settings.gateway_port == 9100
    assert settings.static_engines == ("a:1", "b:2")
    assert settings.admin_key is None
    assert settings.log_level == "debug"
    assert settings.otlp_endpoint == "http://collector:4317"


@pytest.mark.parametrize("name", REQUIRED)
def test_what_is_required_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(StartError, match=f"{name} is not set"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CHORUS_GATEWAY_PORT", "eighty", "valid integer"),
        ("CHORUS_GATEWAY_PORT", "70000", "less than or equal to 65535"),
        ("CHORUS_GATEWAY_DATABASE_URL", "mysql://x", "sqlite\\+aiosqlite"),
        ("CHORUS_GATEWAY_DATABASE_URL", "nonsense", "database URL"),
        ("CHORUS_LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("CHORUS_MAX_BODY_BYTES", "1", "greater than or equal to 1024"),
        ("CHORUS_REQUEST_TIMEOUT", "inf", "finite"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_name_and_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError, match=reason) as error:
        load_settings()
    assert str(error.value).startswith(f"{name}='{value}' is wrong: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*REQUIRED, "CHORUS_ADMIN_KEY"])
def test_a_wrong_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(StartError, match=f"{name} is wrong") as error:
        load_settings()
    assert "hunter2" not in str(error.value)


def test_an_admin_key_in_the_right_form_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    key = generate_key().text
    monkeypatch.setenv("CHORUS_ADMIN_KEY", key)
    settings = load_settings()
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == key
    assert key not in repr(settings)


def test_an_unknown_flag_is_one_sentence() -> None:
    with pytest.raises(StartError, match="--no-such-thing"):
        load_settings(["--no-such-thing", "1"])


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        load_settings(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert field.description
