"""The clients: their programs, and what they have no call for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.environments import NODE, PYTHON, Environment
from tests.conformance.script import Call, Expectation, refused

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Program:
    """`lacks` are kinds of calls that the client does not have. `tells` says which parts of an error it hands on beside
    class and status, and `calls_it` by what other class it knows a refusal, by the call's name."""

    name: str
    command: tuple[str, ...]
    lacks: frozenset[str] = frozenset()
    tells: frozenset[str] = frozenset({"param", "code"})
    calls_it: tuple[tuple[str, str], ...] = ()

    def makes(self, call: Call) -> bool:
        return call.kind not in self.lacks

    def expects(self, call: Call) -> Expectation:
        """Of a call, as far as this client tells it."""
        renamed = dict(self.calls_it).get(call.name)
        wanted = call.expect if renamed is None else call.expect | refused(renamed, call.expect["status"])
        return {word: each for word, each in wanted.items() if word not in {"param", "code"} - self.tells}


def _python(environment: Environment, folder: str, **options: Any) -> Program:
    return Program(environment.name, (str(environment.python), str(HERE / folder / "run.py")), **options)


def _node(package: str) -> Program:
    entry = NODE.folder / "node_modules" / package / "index.mjs"
    return Program(f"node-{package}", ("node", str(HERE / "node" / "run.mjs"), str(entry)))


PROGRAMS = (
    *(_python(environment, "openai_python") for environment in PYTHON[:3]),
    _python(PYTHON[3], "langchain", lacks=frozenset({"models", "model", "file", "batch"})),
    _python(
        PYTHON[4],
        "litellm",
        lacks=frozenset({"model"}),
        tells=frozenset(),
        calls_it=(("wrong scope", "APIError"),),  # it has no class for 403 from OpenAI's
    ),
    _node("openai-6"),
    _node("openai-7"),
)
