import json
import time

import pytest

from tests.cli.conftest import MODEL, Chorus, ask

pytestmark = pytest.mark.xdist_group("cli")  # one gateway for all of them

SEEN_SECONDS = 60.0  # the ledger is written within a second; the machine may be busy


@pytest.mark.usefixtures("key")
def test_usage(chorus: Chorus, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chorus("prices", "set", MODEL, "--input", "1", "--generated", "2")
    for _ in range(2):
        ask(chorus, "--once", "Say hello.")
    until = time.monotonic() + SEEN_SECONDS
    asked = ("usage", "--by", "tenant,day", "--tenant", tenant, "--from", "1d")
    while (not (found := json.loads(chorus(*asked, "-o", "json").out)) or found[0]["requests"] < 2) and (
        time.monotonic() < until
    ):
        time.sleep(0.1)
    (row,) = found
    assert (row["tenant"], row["requests"]) == (tenant, 2)
    assert row["completion_tokens"] > 0
    assert float(row["cost"]) > 0
    (table,) = chorus(*asked).rows
    assert table[:3] == [tenant, row["day"], "2"]
    (line,) = chorus(*asked, "--format", "jsonl").out.splitlines()
    assert json.loads(line)["requests"] == 2
    titles, values = chorus(*asked, "--format", "csv").out.splitlines()
    assert dict(zip(titles.split(","), values.split(","), strict=True))["tenant"] == tenant
    monkeypatch.delenv("CHORUS_ADMIN_KEY")
    own = json.loads(chorus("usage", "--by", "day", "--format", "json").out)
    assert [each["requests"] for each in own] == [2]
    assert chorus("usage", "--by", "colour").status == 2
    assert chorus("usage", "--from", "yesterday").status == 2
