import openai
import pytest
from openai import AsyncOpenAI

from tests.gateway.support.gateway import Gateway


async def test_the_list_has_base_models_and_adapters(client: AsyncOpenAI) -> None:
    page = await client.models.list()
    assert [(model.id, model.owned_by, model.object) for model in page.data] == [
        ("chorus-demo", "chorus", "model"),
        ("chorus-demo@shout", "acme", "model"),
    ]


@pytest.mark.parametrize("name", ["chorus-demo", "chorus-demo@shout"])
async def test_one_model(client: AsyncOpenAI, name: str) -> None:
    model = await client.models.retrieve(name)
    assert (model.id, model.object) == (name, "model")


@pytest.mark.parametrize("name", ["chorus-demo@owner/name:3", "other"])
async def test_no_such_model(client: AsyncOpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError, match=f"'{name}'"):
        await client.models.retrieve(name)


async def test_a_key_is_needed(gateway: Gateway, url: str) -> None:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
        with pytest.raises(openai.AuthenticationError):
            await client.models.retrieve("chorus-demo")
