"""API keys, for administrators."""

import logging

from fastapi import APIRouter

from chorus_gateway.api.dependencies import WRITES, PartsDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.schemas_keys import CreatedKey, KeyChange, KeyList, KeyView, NewAdminKey, NewKey, Rotation
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.values import Scope

log = logging.getLogger(__name__)

router = APIRouter(prefix="/admin/v1", tags=["Keys"], route_class=authenticated(Scope.ADMIN), responses=ERRORS)


@router.post("/tenants/{tenant_id}/keys", status_code=201, summary="Create a key", dependencies=WRITES)
async def create_key(tenant_id: str, body: NewKey, parts: PartsDep) -> CreatedKey:
    """The answer is the only place where the key itself is ever shown."""
    key, info = await parts.keys.create(
        tenant_id,
        scopes=map(Scope, body.scopes),
        name=body.name,
        expires_in=body.expires_in,
        limits=body.limits.to_limits(),
        models=None if body.models is None else tuple(body.models),
        networks=None if body.networks is None else tuple(body.networks),
    )
    log.info("key created", extra={"key_id": key.id, "tenant": tenant_id})
    return CreatedKey.with_key(info, key.text)


@router.get("/tenants/{tenant_id}/keys", summary="A tenant's keys, oldest first")
async def list_keys(tenant_id: str, parts: PartsDep) -> KeyList:
    """Expired and revoked ones too."""
    return KeyList(data=[KeyView.of(info) for info in await parts.keys.of_tenant(tenant_id)])


@router.post("/keys", status_code=201, summary="Create an administrator's key", dependencies=WRITES)
async def create_admin_key(body: NewAdminKey, parts: PartsDep) -> CreatedKey:
    """It belongs to no tenant. The answer is the only place where the key itself is ever shown."""
    key, info = await parts.keys.create(
        None,
        scopes=map(Scope, body.scopes),
        name=body.name,
        expires_in=body.expires_in,
        networks=None if body.networks is None else tuple(body.networks),
    )
    log.info("key created", extra={"key_id": key.id, "tenant": None})
    return CreatedKey.with_key(info, key.text)


@router.get("/keys", summary="Administrators' keys, oldest first")
async def list_admin_keys(parts: PartsDep) -> KeyList:
    """Expired and revoked ones too."""
    return KeyList(data=[KeyView.of(info) for info in await parts.keys.of_tenant(None)])


@router.get("/keys/{key_id}", summary="One key")
async def get_key(key_id: str, parts: PartsDep) -> KeyView:
    return KeyView.of(await parts.keys.get(key_id))


@router.patch("/keys/{key_id}", summary="Change a key's name, limits, models or networks", dependencies=WRITES)
async def change_key(key_id: str, body: KeyChange, parts: PartsDep) -> KeyView:
    """Only what is given changes; `null` lifts a limit or a list. Every gateway follows within a second."""
    changes = body.columns()
    if (await parts.keys.get(key_id)).tenant_id is None and changes.keys() - {"name", "networks"}:
        raise InvalidRequest(
            f"The API key '{key_id}' is an administrator's: only its name and its networks can be changed.",
            param=sorted(changes.keys() - {"name", "networks"})[0],
        )
    info = await parts.keys.change(key_id, changes)
    await parts.auth_events.key_changed(key_id)
    return KeyView.of(info)


@router.post("/keys/{key_id}/rotate", status_code=201, summary="Replace a key", dependencies=WRITES)
async def rotate_key(key_id: str, body: Rotation, parts: PartsDep) -> CreatedKey:
    """By a new one that may what the old one may and lives as long as it was to live. The old one is good for
    `overlap` more seconds. 409 where it is not good any more, or was replaced before."""
    key, info = await parts.keys.rotate(key_id, overlap=body.overlap)
    await parts.auth_events.key_changed(key_id)
    log.info("key rotated", extra={"key_id": key_id, "replaced_by": key.id})
    return CreatedKey.with_key(info, key.text)


@router.delete("/keys/{key_id}", summary="Revoke a key", dependencies=WRITES)
async def revoke_key(key_id: str, parts: PartsDep) -> KeyView:
    """It is refused everywhere within a second. Revoking it again changes nothing. 409 for the last administrator's key
    that is good."""
    info = await parts.keys.revoke(key_id)
    await parts.auth_events.key_changed(key_id)
    log.info("key revoked", extra={"key_id": key_id})
    return KeyView.of(info)
