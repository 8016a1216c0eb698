import json

import pytest

from tests.cli.conftest import Chorus

pytestmark = pytest.mark.xdist_group("cli")  # one gateway for all of them


def test_the_audit_log(chorus: Chorus) -> None:
    chorus("tenants", "create", "audited")
    entries = json.loads(chorus("audit", "list", "--limit", "1000", "-o", "json").out)
    assert [entry["seq"] for entry in entries] == sorted(entry["seq"] for entry in entries)
    assert [entry for entry in entries if "audited" in json.dumps(entry)]
    verified = chorus("audit", "verify")
    assert (verified.status, "as they were written" in verified.out) == (0, True)
    verdict = json.loads(chorus("audit", "verify", "-o", "json").out)
    assert (verdict["ok"], verdict["entries"] >= len(entries)) == (True, True)
    assert chorus("audit", "verify", "--head", verdict["head"]).status == 0
    later = chorus("audit", "verify", "--head", f"{verdict['entries'] + 9}:{'0' * 64}")
    assert (later.status, later.out.count("\n")) == (1, 1)
