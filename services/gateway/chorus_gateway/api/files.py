"""/v1/files: what batches read and write."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from chorus_gateway.api.error_schemas import ERRORS
from chorus_gateway.api.file_form import receive
from chorus_gateway.api.multipart import Event, boundary_of, read_parts
from chorus_gateway.api.schemas_files import FileDeleted, FileList, FileView
from chorus_gateway.api.tenant_routes import asking_tenant
from chorus_gateway.errors import Unavailable
from chorus_gateway.files import FileStore
from chorus_gateway.pipeline import Authenticator, tenant_of
from chorus_gateway.values import Principal

UPLOAD_PATH = "/v1/files"
FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "JSON Lines: a request a line"},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
}
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "the file's bytes", "content": {"application/octet-stream": {}}}
}


def files_router(auth: Authenticator, files: FileStore) -> APIRouter:
    router = APIRouter(prefix=UPLOAD_PATH, tags=["Files"], responses=ERRORS)
    Asking = Annotated[Principal, Depends(asking_tenant(auth))]

    @router.post(
        "",
        summary="Upload a file",
        openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}},
        response_model_exclude_none=True,
    )
    async def create_file(request: Request, asking: Asking) -> FileView:
        """Its parts may come in any order. It is kept for 30 days, or as long as `expires_after` says."""
        boundary = boundary_of(request.headers.get("content-type", ""))
        events = cast("AsyncGenerator[Event, None]", read_parts(request.stream(), boundary))
        upload = files.upload(tenant_of(asking).id)
        async with aclosing(events):
            try:
                return FileView.of(await receive(events, upload))
            except BaseException:
                with suppress(Unavailable):  # then it is swept later
                    await upload.abandon()
                raise

    @router.get("", summary="Files, newest first", response_model_exclude_none=True)
    async def list_files(
        asking: Asking,
        purpose: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        order: Annotated[Literal["asc", "desc"], Query(description="by time of making")] = "desc",
        after: Annotated[str | None, Query(max_length=64, description="the last id of the page before")] = None,
    ) -> FileList:
        tenant = tenant_of(asking).id
        return FileList.of(await files.page(tenant, purpose=purpose, after=after, limit=limit, newest=order == "desc"))

    @router.get("/{file_id}", summary="One file", response_model_exclude_none=True)
    async def retrieve_file(file_id: str, asking: Asking) -> FileView:
        return FileView.of(await files.get(tenant_of(asking).id, file_id))

    @router.get("/{file_id}/content", summary="A file's bytes", response_class=StreamingResponse, responses=CONTENT)
    async def download_file_content(file_id: str, asking: Asking) -> StreamingResponse:
        file = await files.get(tenant_of(asking).id, file_id)
        headers = {"content-length": str(file.bytes)}
        return StreamingResponse(files.chunks(file), media_type="application/octet-stream", headers=headers)

    @router.delete("/{file_id}", summary="Delete a file")
    async def delete_file(file_id: str, asking: Asking) -> FileDeleted:
        """409 while it is the input of a batch that is not over."""
        await files.delete(tenant_of(asking).id, file_id)
        return FileDeleted(id=file_id)

    return router
