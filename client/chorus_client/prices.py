"""What tokens cost."""

from chorus_client.accounts import Price
from chorus_client.reading import read, read_list
from chorus_client.transport import Transport, path
from chorus_client.writing import Money, amount


class Prices:
    """Every method raises ChorusError. An adapter without a price of its own costs what its base costs, a base without
    one nothing."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Price, ...]:
        """By model and adapter."""
        return read_list(Price, self._transport.json("GET", path("prices")))

    def set(self, model: str, *, input: Money, output: Money, cached: Money | None = None, adapter: str = "") -> Price:
        """Of a million tokens each; `cached` is that of `input` unless it is given. `adapter`: "owner/name"."""
        cached = input if cached is None else cached
        body = {"model": model, "input": amount(input), "cached": amount(cached), "output": amount(output)}
        if adapter:
            body["adapter"] = adapter
        return read(Price, self._transport.json("PUT", path("prices"), json=body))

    def remove(self, model: str, *, adapter: str = "") -> None:
        """NotFound when there is none."""
        query = {"model": model} | ({"adapter": adapter} if adapter else {})
        self._transport.json("DELETE", path("prices"), params=query)
