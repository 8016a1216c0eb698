"""Imports: from the buckets that are named and nowhere else, and as careful as an upload."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest

from chorus_adapter_store.blobs.bucket import Bucket, Found
from chorus_adapter_store.catalog import Database
from chorus_adapter_store.errors import InvalidArgument, NotFound, StartError, StoreError, TooLarge, Unavailable
from chorus_adapter_store.imports import Imports, parse_buckets, parse_folder
from chorus_adapter_store.values import CONFIG_FILE, WEIGHTS_FILE, State
from tests.adapter_store.s3 import S3Server, running_s3, use_credentials
from tests.adapter_store.support import Upload, make_upload
from tests.adapter_store.world import World, addresses

FOLDER = "models/adapters/tone"


class Objects:
    """A bucket in memory that counts what it is asked, and may change at any time."""

    def __init__(self, *uploads: Upload) -> None:
        self.contents = {
            f"{FOLDER}/{name}": content
            for each in uploads
            for name, content in ((CONFIG_FILE, each.config_bytes), (WEIGHTS_FILE, each.weights_bytes))
        }
        self.asked: list[str] = []
        self.on_read: Callable[[str], None] = lambda _: None

    async def find(self, path: str) -> Found | None:
        self.asked.append(path)
        content = self.contents.get(path)
        return None if content is None else Found(len(content), str(hash(content)))

    async def read(self, path: str) -> AsyncGenerator[bytes]:
        self.asked.append(path)
        content = self.contents[path]
        self.on_read(path)
        for at in range(0, len(content), 1000):
            yield content[at : at + 1000]


def importing(objects: Objects, *allowed: str, seconds: float = 60) -> Imports:
    return Imports(objects, allowed or ("models",), seconds)


async def refused(world: World, source: str = f"s3://{FOLDER}") -> StoreError:
    with pytest.raises(StoreError) as caught:
        await world.store.import_("acme", "tone", "demo", source)
    assert world.blobs() == set()
    assert await world.store.page("", 10, None) == ()
    return caught.value


async def test_an_import_is_an_upload_of_the_same_bytes(tmp_path: Path, database: Database) -> None:
    world = World(tmp_path, database, imports=importing(Objects(make_upload())))
    generation, created = await world.store.import_("acme", "tone", "demo", f"s3://{FOLDER}/")
    assert created
    assert world.blobs() == addresses(make_upload())
    assert generation.digest == await world.publish(make_upload())
    assert (await world.store.import_("acme", "tone", "demo", f"s3://{FOLDER}")) == (generation, False)


@pytest.mark.parametrize("allowed", ["models", "models/adapters", "models/adapters/tone"])
async def test_a_bucket_or_a_prefix_may_be_named(tmp_path: Path, database: Database, allowed: str) -> None:
    world = World(tmp_path, database, imports=importing(Objects(make_upload()), "other", allowed))
    assert (await world.store.import_("acme", "tone", "demo", f"s3://{FOLDER}"))[1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "'' is no s3://bucket/prefix"),
        ("http://169.254.169.254/latest/meta-data", "is no s3://bucket/prefix"),
        ("https://models.s3.amazonaws.com/adapters", "is no s3://bucket/prefix"),
        ("file:///etc/passwd", "is no s3://bucket/prefix"),
        ("S3://models/x", "is no s3://bucket/prefix"),
        ("models/x", "is no s3://bucket/prefix"),
        ("s3://", "is no s3://bucket/prefix"),
        ("s3:///etc", "is no s3://bucket/prefix"),
        ("s3://s3://models/x", "is no s3://bucket/prefix"),
        ("s3://models/../secrets", "is no s3://bucket/prefix; write it without '.', '..' and empty parts"),
        ("s3://models/./x", "is no s3://bucket/prefix"),
        ("s3://models//x", "is no s3://bucket/prefix"),
        ("s3://models/%2e%2e/x", "is no s3://bucket/prefix"),
        ("s3://models/x?versionId=1", "is no s3://bucket/prefix"),
        ("s3://models/x#y", "is no s3://bucket/prefix"),
        ("s3://models/x\\y", "is no s3://bucket/prefix"),
        ("s3://models/*", "is no s3://bucket/prefix"),
        ("s3://models/\nx", "is no s3://bucket/prefix"),
        ("s3://models/é", "is no s3://bucket/prefix"),
        ("s3://user:password@models/x", "is no s3://bucket/prefix"),
        ("s3://arn:aws:s3:us-east-1:1:accesspoint/models/x", "is no s3://bucket/prefix"),
        ("s3://MODELS/x", "is no s3://bucket/prefix"),
        (f"s3://models/{'x' * 2000}", "is no s3://bucket/prefix"),
        ("s3://secrets/x", "'s3://secrets/x' is not below a bucket that CHORUS_IMPORT_BUCKETS names"),
        ("s3://models2/x", "is not below a bucket"),
        ("s3://models.evil/x", "is not below a bucket"),
        ("s3://named/other", "is not below a bucket"),
        ("s3://named/folder2", "is not below a bucket"),
        ("s3://named", "is not below a bucket"),
    ],
)
async def test_nowhere_else_is_read(source: str, words: str) -> None:
    objects = Objects(make_upload())
    with pytest.raises(InvalidArgument) as caught:
        await anext(importing(objects, "models", "named/folder").parts(source, {CONFIG_FILE: 1000, WEIGHTS_FILE: 1000}))
    assert caught.value.field == "source"
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300
    assert objects.asked == []


async def test_importing_is_off_until_a_bucket_is_named(tmp_path: Path, database: Database) -> None:
    world = World(tmp_path, database)
    error = await refused(world)
    (noted,) = await world.store.transitions("acme", "tone")
    assert (noted.state, noted.reason) == (State.REFUSED, str(error))
    assert str(error) == "source: importing is off; an administrator names buckets in CHORUS_IMPORT_BUCKETS"


async def test_what_is_wrong_in_it_is_refused_as_in_an_upload(tmp_path: Path, database: Database) -> None:
    world = World(tmp_path, database, imports=importing(Objects(make_upload().with_config(r=0))))
    assert str(await refused(world)).startswith("adapter_config.json: r is 0: a rank is")
    assert [each.state for each in await world.store.transitions("acme", "tone")] == [State.REFUSED]


async def test_a_file_that_is_not_there_is_named(tmp_path: Path, database: Database) -> None:
    objects = Objects(make_upload())
    del objects.contents[f"{FOLDER}/{WEIGHTS_FILE}"]
    error = await refused(World(tmp_path, database, imports=importing(objects)))
    assert isinstance(error, NotFound)
    assert str(error) == f"s3://{FOLDER}/{WEIGHTS_FILE} does not exist, or the store may not read it"


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, database: Database) -> None:
    objects = Objects(make_upload())
    objects.contents[f"{FOLDER}/{CONFIG_FILE}"] = b" " * ((1 << 20) + 1)
    error = await refused(World(tmp_path, database, imports=importing(objects)))
    assert isinstance(error, TooLarge)
    assert "adapter_config.json has 1048577 bytes, more than the 1048576 allowed" in str(error)
    assert len(objects.asked) == 1


@pytest.mark.parametrize("change", [b"", b"x" * 100_000])
async def test_a_file_that_changes_or_grows_meanwhile_is_not_taken(
    tmp_path: Path, database: Database, change: bytes
) -> None:
    objects = Objects(make_upload())

    def changing(path: str) -> None:
        objects.contents[path] += change or b"y"

    objects.on_read = changing
    error = await refused(World(tmp_path, database, imports=importing(objects)))
    assert isinstance(error, Unavailable)
    assert str(error).endswith("changed while it was read; try again")


async def test_an_import_ends_after_its_time(tmp_path: Path, database: Database) -> None:
    error = await refused(World(tmp_path, database, imports=importing(Objects(make_upload()), seconds=-1)))
    assert isinstance(error, Unavailable)
    assert "CHORUS_IMPORT_TIMEOUT" in str(error)


def test_lists_of_buckets_are_read_and_refused_in_one_sentence() -> None:
    assert parse_buckets(" models , named/folder/,, ") == ("models", "named/folder")
    assert parse_buckets("") == ()
    for text in ("s3://models", "models/..", "*", "Models"):
        with pytest.raises(StartError, match=r"^CHORUS_IMPORT_BUCKETS has .*, which is no bucket or bucket/prefix$"):
            parse_buckets(text)
    assert parse_folder("CHORUS_BLOB_URL", "s3://models/some/") == "models/some"
    with pytest.raises(StartError, match=r"^CHORUS_BLOB_URL='gs://models' is no s3://bucket/prefix$"):
        parse_folder("CHORUS_BLOB_URL", "gs://models")


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[S3Server, Bucket]]:
    use_credentials(monkeypatch)
    with running_s3() as server:
        server.make_bucket("models")
        opened = Bucket(server.url)
        yield server, opened
        await opened.close()


async def test_a_real_server_is_read(tmp_path: Path, database: Database, bucket: tuple[S3Server, Bucket]) -> None:
    server, opened = bucket
    upload = make_upload(*("q_proj", "k_proj", "v_proj", "o_proj"), rank=64)
    server.put("models", f"adapters/tone/{CONFIG_FILE}", upload.config_bytes)
    world = World(tmp_path, database, imports=Imports(opened, ("models", "absent"), 60))
    assert isinstance(await refused(world), NotFound)
    assert isinstance(await refused(world, "s3://absent/x"), NotFound)
    server.put("models", f"adapters/tone/{WEIGHTS_FILE}", upload.weights_bytes)
    assert (await world.store.import_("acme", "tone", "demo", f"s3://{FOLDER}"))[1]
    assert world.blobs() == addresses(upload)
