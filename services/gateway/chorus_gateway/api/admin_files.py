"""One generation of an adapter, and its files as they were uploaded."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse

from chorus_gateway.api.adapter_schemas import AdapterView
from chorus_gateway.api.admin_adapters import UPLOAD_PATH, check_owner
from chorus_gateway.api.dependencies import PartsDep, PrincipalDep, authenticated
from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.values import Scope

BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "the file's bytes", "content": {"application/octet-stream": {}}}
}
Generation = Annotated[int, Path(ge=1, le=2**32 - 1)]
router = APIRouter(
    prefix=UPLOAD_PATH + "/{tenant}/{name}/generations/{generation}",
    tags=["Adapters"],
    route_class=authenticated(Scope.ADAPTERS),
    responses=ERRORS,
)


@router.get("", summary="One generation")
async def get_adapter(
    tenant: str, name: str, generation: Generation, parts: PartsDep, principal: PrincipalDep
) -> AdapterView:
    """Whatever its state, until it is gone."""
    check_owner(principal, tenant)
    return AdapterView.of(await parts.adapters.get(tenant, name, generation))


@router.get("/files/{file}", summary="Download a file", response_class=StreamingResponse, responses=BYTES)
async def download_file(
    tenant: str,
    name: str,
    generation: Generation,
    file: Literal["adapter_config.json", "adapter_model.safetensors"],
    parts: PartsDep,
    principal: PrincipalDep,
) -> StreamingResponse:
    """What was uploaded, byte for byte. The answer ends short of its `content-length` when the store finds its copy
    damaged; `etag` is the file's SHA-256."""
    check_owner(principal, tenant)
    adapter = await parts.adapters.get(tenant, name, generation)
    download = await parts.adapters.download(adapter.digest, file)
    headers = {
        "content-length": str(download.size),
        "etag": f'"{download.sha256}"',
        "content-disposition": f'attachment; filename="{file}"',
    }
    return StreamingResponse(download.chunks, media_type="application/octet-stream", headers=headers)
