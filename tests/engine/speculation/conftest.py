from tests.engine.constraints.conftest import demo

__all__ = ["demo"]
