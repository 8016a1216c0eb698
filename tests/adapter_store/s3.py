"""An S3-compatible server in this process, and what is needed to talk to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3Server:
    def __init__(self, url: str) -> None:
        self.url = url

    def make_bucket(self, name: str) -> None:
        self._client().create_bucket(Bucket=name)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self._client().put_object(Bucket=bucket, Key=key, Body=content)

    def get(self, bucket: str, key: str) -> bytes:
        content: bytes = self._client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def remove(self, bucket: str, key: str) -> None:
        self._client().delete_object(Bucket=bucket, Key=key)

    def keys(self, bucket: str) -> set[str]:
        return {each["Key"] for each in self._client().list_objects_v2(Bucket=bucket).get("Contents", [])}

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )


@contextmanager
def running_s3() -> Iterator[S3Server]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()


def use_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
