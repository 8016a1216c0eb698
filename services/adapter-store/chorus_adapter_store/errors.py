"""Why the store refuses or cannot do what it was asked.

StoreError
├── InvalidArgument   a field, or a file of an upload, is wrong; `field` names it
├── NotFound          no such adapter, version or digest for the one who asks
├── TooLarge          an upload passes a size limit
├── QuotaExceeded     a tenant would have more than it may
├── Precondition      right in itself, but not in the catalog's present state
├── Stalled           the client sent nothing for too long
├── Unavailable       the database or the disk is away; worth another attempt
├── DataLoss          a blob that the catalog names is missing or does not match its digest
└── StartError        configuration, database or port; ends the process with one sentence

Every message is one sentence with the value, the limit and what to do. `rpc.status` maps the tree once.
"""


class StoreError(Exception):
    pass


class InvalidArgument(StoreError):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class NotFound(StoreError):
    pass


class TooLarge(StoreError):
    pass


class QuotaExceeded(StoreError):
    pass


class Precondition(StoreError):
    pass


class Stalled(StoreError):
    pass


class Unavailable(StoreError):
    pass


class DataLoss(StoreError):
    pass


class StartError(StoreError):
    pass
