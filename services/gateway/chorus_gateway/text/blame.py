"""Which field of a request an engine's refusal of its constraint is about."""

import re

from chorus_gateway.errors import ConstraintRefused
from chorus_gateway.values import Constraint

# As engines say it of a grammar: where, what, and maybe the lines around it, which are none of the client's here.
_REFUSAL = re.compile(r"at (\d+)\(\d+\): (.*?)( \d+ \| .*)?", re.DOTALL)


def named(error: ConstraintRefused, constraint: Constraint) -> ConstraintRefused:
    refusal = _REFUSAL.fullmatch(error.message)
    if refusal is None or not constraint.origins:
        return error.naming(constraint.param)
    lines = constraint.source.splitlines()
    line = lines[min(int(refusal[1]), len(lines)) - 1]
    rule = line.partition(":")[0]
    found = ((param, words) for of, param, words in constraint.origins if of == rule)
    param, words = next(found, (constraint.param, ""))
    what = refusal[2].removesuffix(".") + "."
    return ConstraintRefused(f"{words}: {what}" if words else what).naming(param)
