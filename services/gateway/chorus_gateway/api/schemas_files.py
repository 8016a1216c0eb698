"""/v1/files, as clients are answered."""

from typing import Literal

from pydantic import BaseModel

from chorus_gateway.files import File, Page


class FileView(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"

    @classmethod
    def of(cls, file: File) -> "FileView":
        return cls(
            id=file.id,
            bytes=file.bytes,
            created_at=int(file.created_at),
            expires_at=None if file.expires_at is None else int(file.expires_at),
            filename=file.filename,
            purpose=file.purpose,
        )


class FileList(BaseModel):
    object: Literal["list"] = "list"
    data: list[FileView]
    first_id: str
    last_id: str
    has_more: bool

    @classmethod
    def of(cls, page: Page) -> "FileList":
        views = [FileView.of(file) for file in page.files]
        first, last = (views[0].id, views[-1].id) if views else ("", "")
        return cls(data=views, first_id=first, last_id=last, has_more=page.has_more)


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
