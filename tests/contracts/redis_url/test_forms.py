"""Every form of CHORUS_REDIS_URL, as each service reads it."""

from pathlib import Path
from urllib.parse import quote

import pytest
import redis.exceptions

from tests.contracts.redis_url.conftest import Start, tls_before
from tests.contracts.redis_url.services import SERVICES, Service
from tests.support.certificates import make_certificates

PASSWORD = "p@ss/w#rd?:"  # with every character that an address gives a meaning of its own
ACL = (f"user alice on >{PASSWORD} ~* &* +@all", "user default off")
LOGIN = f"alice:{quote(PASSWORD, safe='')}"
SECRETS = ("CHORUS_SERVICE_TOKEN", "CHORUS_KEY_PEPPER", "CHORUS_NAMESPACE_SECRET")


@pytest.fixture(params=sorted(SERVICES))
def service(request: pytest.FixtureRequest) -> Service:
    return SERVICES[request.param]


async def works(service: Service, url: str) -> None:
    async with service.connect(url) as client:
        await client.set("word", "kept")
        assert await client.get("word") == "kept"
        assert (await client.client_info())["db"] == 3


async def test_a_user_of_an_access_list_logs_in(service: Service, start: Start) -> None:
    port = start(*ACL).port
    await works(service, f"redis://{LOGIN}@127.0.0.1:{port}/3")
    async with service.connect(f"redis://alice:wrong@127.0.0.1:{port}") as client:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await client.ping()


async def test_a_unix_socket(service: Service, start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "redis.sock"
    start(*ACL, f"unixsocket {path}")
    await works(service, f"unix://{LOGIN}@{path}?db=3")


async def test_tls_is_spoken_and_the_certificate_checked(service: Service, start: Start, tmp_path: Path) -> None:
    certificates, others = make_certificates(tmp_path), make_certificates(tmp_path, "other")
    async with tls_before(start(*ACL).port, certificates) as port:
        url = f"rediss://{LOGIN}@127.0.0.1:{port}/3"
        await works(service, f"{url}?ssl_ca_certs={certificates.ca}")
        await works(service, f"{url}?ssl_cert_reqs=none")
        for wrong in (url, f"{url}?ssl_ca_certs={others.ca}"):
            async with service.connect(wrong) as client:
                with pytest.raises(redis.exceptions.ConnectionError, match="certificate verify failed"):
                    await client.ping()


def test_tls_of_sentinels_is_that_of_the_servers(service: Service, tmp_path: Path) -> None:
    authority = make_certificates(tmp_path).ca
    query = f"sentinel_password=s1&ssl=true&ssl_ca_certs={authority}&ssl_check_hostname=false"
    pool = service.connect(f"redis+sentinel://{LOGIN}@a,[::1]:9/main/3?{query}").connection_pool
    assert isinstance(pool, service.module.MasterPool)
    sentinels = [sentinel.connection_pool for sentinel in pool.sentinel_manager.sentinels]
    asked = [(each.connection_kwargs["host"], each.connection_kwargs["port"]) for each in sentinels]
    assert asked == [("a", 26379), ("::1", 9)]
    connections = [each.make_connection() for each in (pool, *sentinels)]
    assert [connection.ca_certs for connection in connections] == [str(authority)] * 3
    assert [connection.check_hostname for connection in connections] == [False] * 3
    assert [connection.password for connection in connections] == [PASSWORD, "s1", "s1"]
    assert [connection.username for connection in connections] == ["alice", None, None]
    assert connections[0].db == 3


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:8005", "it must be redis://"),
        ("http://:hunter2@127.0.0.1", "it must be redis://"),
        ("redis://", "it must be redis://"),
        ("redis://:hun/ter2@127.0.0.1", "written %2F"),
        ("redis://:hun?ter2@127.0.0.1", "written %2F"),
        ("redis://:#hunter2@127.0.0.1", "written %2F"),
        ("redis://:hunter2@127.0.0.1:port/0", "it must be"),
        ("redis://:hunter2@127.0.0.1:70000/0", "65535"),
        ("redis://:hunter2@127.0.0.1/zero", "it must be"),
        ("redis://:hunter2@127.0.0.1/0?ssl_ca_certs=x", "unexpected keyword argument 'ssl_ca_certs'"),
        ("redis://:hunter2@127.0.0.1/0?db=many", "Invalid value for 'db'"),
        ("rediss://:hunter2@127.0.0.1?ssl_cert_reqs=perhaps", "perhaps"),
        ("rediss://:hunter2@127.0.0.1?ssl_ca_certs=/none.pem", "No such file"),
        ("redis+sentinel://:hunter2@127.0.0.1:26379", "it must be"),
        ("redis+sentinel://:hunter2@127.0.0.1:26379/main/zero", "it must be"),
        ("redis+sentinel://:hunter2@/main", "it must be"),
        ("redis+sentinel://:hunter2@a,b/main?sentinels=2", "unexpected keyword argument 'sentinels'"),
        ("redis+sentinel://a,b/main?sentinel_password=hunter2&ssl=true&ssl_ca_certs=/none.pem", "No such file"),
    ],
)
def test_a_wrong_one_is_a_sentence_without_the_password(
    service: Service, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.setenv("CHORUS_MODEL", "model")
    for name in SECRETS:
        monkeypatch.setenv(name, "sixteen characters")
    monkeypatch.setenv("CHORUS_REDIS_URL", url)
    with pytest.raises(service.start_error) as caught:
        service.load_settings([])
    sentence = str(caught.value)
    assert sentence.startswith("CHORUS_REDIS_URL is wrong: ")
    assert words in sentence
    assert "hunter2" not in sentence
    assert "ter2" not in sentence
    assert "\n" not in sentence


def test_the_three_are_one() -> None:
    sources = {Path(str(service.module.__file__)).read_text() for service in SERVICES.values()}
    assert len(sources) == 1
