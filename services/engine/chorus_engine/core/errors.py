"""Why a request or a start can fail.

EngineError
├── InvalidRequest        the submission cannot be served as it stands
├── ConstraintRefused     what its output must be cannot be compiled, or costs too much to follow
├── AdapterError
│   ├── AdapterNotFound     the store has no adapter of this digest
│   ├── AdapterUnusable     its bytes do not match its digest or this model, or do not fit the pool
│   └── AdapterUnavailable  the store did not answer; worth another attempt
├── NoCredit              a submit without a credit
├── Crowded               too much of a tenant's waits here already; worth another attempt
├── Draining              the engine is going away; worth another attempt elsewhere
└── StartError            configuration, checkpoint or device; ends the process with one sentence

Every message is one sentence with the value, the limit and what to do.
"""


class EngineError(Exception):
    pass


class InvalidRequest(EngineError):
    pass


class ConstraintRefused(EngineError):
    pass


class AdapterError(EngineError):
    pass


class AdapterNotFound(AdapterError):
    pass


class AdapterUnusable(AdapterError):
    pass


class AdapterUnavailable(AdapterError):
    pass


class NoCredit(EngineError):
    pass


class Crowded(EngineError):
    pass


class Draining(EngineError):
    pass


class StartError(EngineError):
    pass
