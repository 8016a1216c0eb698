"""One log line when a dependency goes away and one when it is back, however often it is asked in between."""

import logging


class Outage:
    def __init__(self, what: str, logger: logging.Logger) -> None:
        self._what = what
        self._logger = logger
        self._away = False

    def failed(self, error: BaseException) -> None:
        if not self._away:
            self._logger.warning("%s is away: %s", self._what, str(error) or type(error).__name__)
        self._away = True

    def worked(self) -> None:
        if self._away:
            self._logger.info("%s is back", self._what)
        self._away = False
