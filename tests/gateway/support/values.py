"""Values with defaults, for tests that care about one field."""

from typing import Any

from chorus_gateway.values import NOTHING, BaseModel, Job, ResolvedModel, Sampling, Tenant

BASE_DIGEST = "b" * 64


def base(name: str = "chorus-demo", digest: str = BASE_DIGEST, max_model_len: int = 512) -> BaseModel:
    return BaseModel(name, digest, "t" * 64, max_model_len, eos_token_ids=(0,), created=1)


def job(request_id: str = "r", *, tenant: str | Tenant = "acme", model: BaseModel | None = None, **fields: Any) -> Job:
    """Of one prompt token and 16 output tokens at most."""
    owner = Tenant(tenant) if isinstance(tenant, str) else tenant
    needs = fields.pop("needs", NOTHING)
    resolved = ResolvedModel("chorus-demo", model or base(), fields.pop("adapter", None), bytes(32), needs=needs)
    defaults: dict[str, Any] = {"prompt": (1,), "sampling": Sampling(max_tokens=16)}
    return Job(request_id, owner, resolved, **(defaults | fields))
