"""The clients: their programs, and what they have no call for."""

from dataclasses import dataclass
from pathlib import Path

from tests.conformance.environments import NODE, PYTHON, Environment
from tests.conformance.script import Call

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Program:
    """`lacks` are kinds of calls and names of calls that the client does not have. `tells` says which parts of an error
    it hands on besides class and status."""

    name: str
    command: tuple[str, ...]
    lacks: frozenset[str] = frozenset()
    tells: frozenset[str] = frozenset({"param", "code"})

    def makes(self, call: Call) -> bool:
        return call.name not in self.lacks and call.kind not in self.lacks


def _python(environment: Environment, folder: str, **options: frozenset[str]) -> Program:
    return Program(environment.name, (str(environment.python), str(HERE / folder / "run.py")), **options)


def _node(package: str) -> Program:
    entry = NODE.folder / "node_modules" / package / "index.mjs"
    return Program(f"node-{package}", ("node", str(HERE / "node" / "run.mjs"), str(entry)))


PROGRAMS = (
    *(_python(environment, "openai_python") for environment in PYTHON[:3]),
    _python(PYTHON[3], "langchain", lacks=frozenset({"models", "model", "file", "batch"})),
    _python(PYTHON[4], "litellm", lacks=frozenset({"model"}), tells=frozenset()),
    _node("openai-6"),
    _node("openai-7"),
)
