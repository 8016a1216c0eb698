import pytest

from chorus_gateway.models.names import AdapterName, parse_adapter, split_base


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sql", AdapterName("sql")),
        ("sql:3", AdapterName("sql", version="3")),
        ("sql:latest", AdapterName("sql", version="latest")),
        ("acme/sql", AdapterName("sql", owner="acme")),
        ("acme/sql:prod.2", AdapterName("sql", owner="acme", version="prod.2")),
        ("a" * 64, AdapterName("a" * 64)),
    ],
)
def test_adapter_names(text: str, name: AdapterName) -> None:
    assert parse_adapter(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":3",
        "sql:",
        "/sql",
        "acme/",
        "a/b/c",
        "SQL",
        "-sql",
        ".sql",
        "sql v",
        "sql:a:b",
        "a" * 65,
        "sql\n",
        "é",
        "../x",
    ],
)
def test_what_can_be_no_adapters_name(text: str) -> None:
    assert parse_adapter(text) is None


def test_the_last_at_sign_splits() -> None:
    assert split_base("org/base@v1@sql:3") == ("org/base@v1", "sql:3")
    assert split_base("base@") == ("base", "")
    assert split_base("sql") == ("", "sql")
