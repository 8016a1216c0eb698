import re

from scripts.settings_table import PAGE, SERVICES, render, table, variables
from scripts.stack.config import PORTS, ROOT, StackConfig


def test_the_page_is_what_the_settings_say() -> None:
    page = PAGE.read_text()
    assert all(f"<!-- settings of {service} -->" in page for service in SERVICES)
    assert render(page) == page, "stale: python -m scripts.settings_table --write"


def test_a_setting_that_changes_makes_the_page_stale() -> None:
    page = PAGE.read_text()
    changed = page.replace("| `CHORUS_MAX_QUEUE` | `4096` |", "| `CHORUS_MAX_QUEUE` | `1` |")
    assert changed != page
    assert render(changed) == page


def test_no_setting_is_left_out_and_each_says_what_it_is_for() -> None:
    for settings in SERVICES.values():
        rows = table(settings).splitlines()[2:]
        assert len(rows) == len(settings.model_fields)
        for (name, field), row in zip(settings.model_fields.items(), rows, strict=True):
            assert all(f"`{variable}`" in row for variable in variables(name, field))
            assert field.description, name


def test_every_variable_that_compose_reads_is_listed_with_its_default() -> None:
    by_hand = PAGE.read_text().partition("## Compose")[2]
    compose = (ROOT / "compose.yaml").read_text()
    taken = re.findall(r"\$\{(\w+):-([^}]*)\}", compose)
    assert taken
    for name, default in taken:
        row = next((row for row in by_hand.splitlines() if f"`{name}`" in row), "")
        assert row, name
        assert not default or f"| `{default}` |" in row or "for development alone" in row, name


def test_what_compose_passes_on_is_a_setting_and_listed() -> None:
    by_hand = PAGE.read_text().partition("## Compose")[2]
    for indent, service in ((2, "engine"), (6, "adapter-store")):
        lines = re.compile(rf"^ {{{indent}}}(CHORUS_\w+):$", re.MULTILINE)
        passed_on = lines.findall((ROOT / "compose.yaml").read_text())
        assert passed_on
        assert set(passed_on) <= {
            name for field in SERVICES[service].model_fields.items() for name in variables(*field)
        }
        assert all(f"`{name}`" in by_hand for name in passed_on)


def test_what_the_stack_sets_by_itself_is_listed() -> None:
    by_hand = PAGE.read_text().partition("## `make up`")[2]
    secrets = dict.fromkeys(("CHORUS_REDIS_PASSWORD", "CHORUS_SERVICE_TOKEN", "CHORUS_ADMIN_KEY"), "x")
    chosen = StackConfig.read({}).environment(secrets)
    missing = [name for name in chosen if name.startswith("CHORUS_") and f"`{name}`" not in by_hand]
    assert not missing
    assert all(f"`{port}`" in by_hand for port in PORTS.values())
