"""Values to protobuf and back."""

import base64
import binascii
import json

from chorus_adapter_store.errors import InvalidArgument
from chorus_adapter_store.names import quote
from chorus_adapter_store.values import (
    AliasChange,
    Generation,
    Position,
    Quota,
    Resolution,
    Sharing,
    State,
    StoredFile,
    Target,
    Transition,
    Visibility,
)
from chorus_proto.adapters.v1 import adapters_pb2 as pb

_VISIBILITIES = {
    Visibility.PRIVATE: pb.VISIBILITY_PRIVATE,
    Visibility.SHARED: pb.VISIBILITY_SHARED,
    Visibility.PUBLIC: pb.VISIBILITY_PUBLIC,
}


_STATES = {
    State.UPLOADED: pb.STATE_UPLOADED,
    State.VALIDATED: pb.STATE_VALIDATED,
    State.PUBLISHED: pb.STATE_PUBLISHED,
    State.RETIRED: pb.STATE_RETIRED,
    State.DELETED: pb.STATE_DELETED,
    State.GONE: pb.STATE_GONE,
    State.REFUSED: pb.STATE_REFUSED,
}


def adapter_message(generation: Generation) -> pb.Adapter:
    return pb.Adapter(
        tenant=generation.adapter.tenant,
        name=generation.adapter.name,
        model=generation.model,
        generation=generation.generation,
        digest=generation.digest,
        rank=generation.facts.rank,
        modules=generation.facts.modules,
        size=sum(file.size for file in generation.files),
        aliases=generation.aliases,
        created_at=generation.created_at,
        visibility=_VISIBILITIES[generation.sharing.visibility],
        shared_with=generation.sharing.tenants,
        canary_of=dict(generation.canary_of),
        state=_STATES[generation.state],
        reason=generation.reason,
    )


def file_begin(file: StoredFile) -> pb.FileBegin:
    return pb.FileBegin(file=file.name, size=file.size, sha256=file.sha256)


def transition_message(transition: Transition) -> pb.Transition:
    return pb.Transition(
        generation=transition.generation,
        state=_STATES[transition.state],
        reason=transition.reason,
        at=transition.at,
    )


def resolve_response(found: Resolution) -> pb.ResolveResponse:
    answer = pb.ResolveResponse(adapter=adapter_message(found.generation), canary_percent=found.percent)
    if found.canary is not None:
        answer.canary.CopyFrom(adapter_message(found.canary))
    return answer


def alias_change(change: AliasChange) -> pb.AliasChange:
    target = change.target or Target(0)
    return pb.AliasChange(
        generation=target.generation,
        canary=target.canary,
        canary_percent=target.percent,
        changed_at=change.changed_at,
    )


def parse_sharing(request: pb.SetVisibilityRequest) -> Sharing:
    """Raises InvalidArgument."""
    for visibility, number in _VISIBILITIES.items():
        if request.visibility == number:
            return Sharing(visibility, tuple(request.shared_with))
    raise InvalidArgument("visibility", f"{request.visibility} is none of private (1), shared (2) and public (3)")


def parse_quota(message: pb.Quota) -> Quota:
    return Quota(adapters=message.adapters, bytes=message.bytes, rank=message.rank)


def page_token(generation: Generation) -> str:
    position = [generation.adapter.tenant, generation.adapter.name, generation.generation]
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def parse_page_token(token: str) -> Position | None:
    """Raises InvalidArgument."""
    if not token:
        return None
    try:
        tenant, name, generation = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise _no_token(token) from None
    if not (isinstance(tenant, str) and isinstance(name, str) and type(generation) is int):
        raise _no_token(token)
    return Position(tenant, name, generation)


def _no_token(token: str) -> InvalidArgument:
    return InvalidArgument("page_token", f"{quote(token)} did not come from this store; begin without one")
