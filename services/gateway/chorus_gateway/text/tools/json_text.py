"""The end of a JSON value, found while its text arrives."""

_OPEN, _CLOSE = "{[", "}]"


class JsonValue:
    """Follows one value from its first character on. Only its extent is judged, not whether it is right inside."""

    def __init__(self) -> None:
        self.done = False
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._begun = False

    def step(self, character: str) -> bool:
        """Whether the character belongs to the value. One that ends a number or a word does not."""
        if self._quoted:
            self._in_text(character)
            return True
        if self._begun and self._depth == 0 and character in ",}] \t\r\n":
            self.done = True
            return False
        self._begun = True
        if character == '"':
            self._quoted = True
        elif character in _OPEN:
            self._depth += 1
        elif character in _CLOSE:
            self._depth -= 1
            self.done = self._depth <= 0
        return True

    def _in_text(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._quoted = False
            self.done = self._depth == 0
