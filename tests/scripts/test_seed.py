"""A seed is sown once: the digest that the script computes is the store's."""

from hashlib import sha256
from pathlib import Path

from scripts.stack.http import multipart
from scripts.stack.seed import adapter_digest, adapter_folders


def test_a_digest_is_over_the_digests_of_both_files(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes(b"{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    assert adapter_digest(tmp_path) == sha256(sha256(b"{}").digest() + sha256(b"weights").digest()).hexdigest()


def test_every_adapter_of_the_demo_is_found() -> None:
    names = [folder.name for folder in adapter_folders()]
    assert len(names) >= 6
    assert names == sorted(names)


def test_a_form_has_its_fields_before_its_files(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"\r\n--not-the-boundary\0")
    body, content_type = multipart({"tenant": "demo"}, {"adapter_model": file})
    boundary = content_type.partition("boundary=")[2].encode()
    parts = body.split(b"--" + boundary)
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    assert b'name="tenant"' in parts[1]
    assert b'name="adapter_model"; filename="weights"' in parts[2]
    assert parts[2].endswith(file.read_bytes() + b"\r\n")
