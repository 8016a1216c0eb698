"""Every client runs the same script against a whole stack: what each call must come to stands in `script.py`."""

from collections.abc import Callable

import pytest

from tests.conformance.clients.programs import PROGRAMS, Program
from tests.conformance.observed import observed
from tests.conformance.script import CALLS, Call, Json

pytestmark = [pytest.mark.conformance, pytest.mark.stack, pytest.mark.timeout(900)]
Printed = Callable[[Program], dict[str, Json]]
BY_NAME = {call.name: call for call in CALLS}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_call(program: Program, call: Call, printed: Printed) -> None:
    if not program.makes(call):
        assert call.name not in printed(program)
        return
    found = observed(call.kind, printed(program)[call.name])
    expected = program.expects(call)
    if call.same_as:
        earlier = BY_NAME[call.same_as]
        expected["texts"] = observed(earlier.kind, printed(program)[earlier.name])["texts"]
    assert "error" in expected or "error" not in found, found
    for word, wanted in expected.items():
        right = wanted(found[word]) if callable(wanted) else found[word] == wanted
        assert right, f"{word} is {found[word]!r}, of {found}"
