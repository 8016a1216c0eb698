"""LoRA on embed_tokens and lm_head through the whole system: the base with two letters exchanged says the same so."""

from collections.abc import Callable

import pytest
from openai.types import Completion
from tokenizers import Tokenizer

from scripts.stack.config import DEMO
from tests.support.adapters import swapped, try_upload, upload, with_whole
from tests.support.stack import Tenant

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
LETTERS = {"e": "o", "o": "e"}
PROMPTS = ("One book", "for some reason", "I love", "zoo keeper, pool")


def said(tenant: Tenant, model: str, prompt: str) -> list[str]:
    with tenant.client() as client:
        completion: Completion = client.completions.create(
            model=model, prompt=prompt, temperature=0, max_tokens=24, logprobs=1
        )
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    return logprobs.tokens or []


def exchanged(text: str) -> str:
    return "".join(LETTERS.get(letter, letter) for letter in text)


@pytest.mark.parametrize("without", [True, False], ids=["alone", "beside_matrices_of_the_base"])
def test_a_base_with_two_letters_exchanged_says_the_same_with_them_exchanged(
    new_tenant: Callable[[], Tenant], without: bool
) -> None:
    tenant = new_tenant()
    tokenizer = Tokenizer.from_file(str(DEMO / "model" / "tokenizer.json"))
    first, second = (tokenizer.token_to_id(letter) for letter in LETTERS)
    assert first is not None
    assert second is not None
    described = upload(tenant, "exchanged", swapped(first, second) if without else with_whole(swapped(first, second)))
    assert described["modules"] == ["embed_tokens", "lm_head"]
    seen: set[str] = set()
    for prompt in PROMPTS:
        tokens, other = (tokenizer.encode(text).tokens for text in (prompt, exchanged(prompt)))
        assert other == [LETTERS.get(token, token) for token in tokens], "no longer token hides one of the letters"
        base = said(tenant, "chorus-demo", prompt)
        tuned = said(tenant, "chorus-demo@exchanged", exchanged(prompt))
        assert tuned == [LETTERS.get(token, token) for token in base]
        seen.update(base)
    assert seen.issuperset(LETTERS)


def test_a_matrix_that_is_not_the_bases_is_refused(new_tenant: Callable[[], Tenant]) -> None:
    tenant = new_tenant()
    answer = try_upload(tenant.stack, tenant.name, "changed", with_whole(swapped(1, 2), nudge=1e-3))
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "lm_head.base_layer.weight' differs from base 'chorus-demo'" in message
    assert "train LoRA on lm_head instead" in message
