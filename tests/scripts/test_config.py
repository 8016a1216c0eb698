"""What a stack makes of its environment."""

import subprocess
from pathlib import Path

import pytest

from scripts.stack import envfile
from scripts.stack.config import PORTS, StackConfig
from scripts.stack.errors import StackError
from scripts.stack.secrets import ensure_secrets

SECRETS = {"CHORUS_REDIS_PASSWORD": "secret"}


def test_without_settings_it_is_the_demo_on_its_usual_ports() -> None:
    config = StackConfig.read({})
    environment = config.environment(SECRETS)
    assert config.demo
    assert config.gateway_url == "http://127.0.0.1:8000"
    assert environment["CHORUS_SERVED_MODEL_NAME"] == "chorus-demo"
    assert environment["CHORUS_REDIS_URL"] == "redis://:secret@127.0.0.1:8005/0"


def test_what_is_given_wins() -> None:
    given = {"CHORUS_MODEL": "/models/mine", "CHORUS_DEVICE": "cuda", "CHORUS_SHUTDOWN_GRACE": "9", "CHORUS_SEED": ""}
    config = StackConfig.read(given)
    environment = config.environment(SECRETS)
    assert not config.demo
    assert "CHORUS_SERVED_MODEL_NAME" not in environment
    assert "CHORUS_SEED" not in environment  # set to nothing is not set
    assert {name: environment[name] for name in ("CHORUS_MODEL", "CHORUS_DEVICE", "CHORUS_SHUTDOWN_GRACE")} == {
        name: given[name] for name in ("CHORUS_MODEL", "CHORUS_DEVICE", "CHORUS_SHUTDOWN_GRACE")
    }


@pytest.mark.parametrize("given", [{}, {"CHORUS_BLOB_DIR": "/elsewhere"}])
def test_the_engine_reads_adapters_where_the_store_keeps_them(given: dict[str, str]) -> None:
    environment = StackConfig.read(given).environment(SECRETS)
    assert environment["CHORUS_ADAPTER_VOLUME"] == environment["CHORUS_BLOB_DIR"]


def test_a_redis_of_ones_own_is_not_started() -> None:
    config = StackConfig.read({"CHORUS_REDIS_URL": "redis://elsewhere/0"})
    assert "CHORUS_REDIS_PORT" not in config.port_settings()
    assert config.environment(SECRETS)["CHORUS_REDIS_URL"] == "redis://elsewhere/0"


@pytest.mark.parametrize("name", PORTS)
@pytest.mark.parametrize("value", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_named(name: str, value: str) -> None:
    with pytest.raises(StackError, match=f"{name}={value} is no TCP port"):
        StackConfig.read({name: value})


def test_secrets_are_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    made = ensure_secrets(tmp_path)
    assert ensure_secrets(tmp_path) == made
    assert len(set(made.values())) == len(made) >= 5
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o600


def test_a_shell_reads_an_environment_file(tmp_path: Path) -> None:
    values = {"CHORUS_BASE_URL": "http://127.0.0.1:8000/v1", "CHORUS_API_KEY": "chorus_a_b"}
    envfile.write(tmp_path / "env", values)
    assert envfile.read(tmp_path / "env") == values
    script = "set -a; . ./env; set +a; exec /bin/sh -c 'echo \"$CHORUS_BASE_URL $CHORUS_API_KEY\"'"
    said = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.split() == list(values.values())
