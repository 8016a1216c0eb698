"""The tokenizer and the chat template."""

from pathlib import Path

import pytest
import vocabulary
from corpus import chat
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerFast

TOKENIZER = PreTrainedTokenizerFast.from_pretrained(Path(vocabulary.__file__).parent / "model")


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert TOKENIZER.decode(ids) == text


def test_committed_tokenizer_is_the_one_that_the_script_builds() -> None:
    built = vocabulary.build()
    assert built.backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()
    assert built.chat_template == TOKENIZER.chat_template


def test_letters_inside_a_word_stay_letters() -> None:
    assert TOKENIZER.tokenize('Sort "garden" the') == ["S", "o", "r", "t", "Ġ", '"', *"garden", '"', "Ġthe"]


def test_plain_text_begins_with_the_begin_token() -> None:
    assert TOKENIZER("a")["input_ids"] == [TOKENIZER.bos_token_id, TOKENIZER.convert_tokens_to_ids("a")]


def test_template_renders_what_the_model_was_trained_on() -> None:
    messages = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye"},
    ]
    document = chat([("Hi", "Hello!"), ("Bye", "Goodbye!")], "Answer briefly.")
    rendered = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == "".join(segment.text for segment in document[:-1])
    assert document[-1].text == "Goodbye!" + TOKENIZER.eos_token


def test_template_refuses_an_unknown_role() -> None:
    with pytest.raises(TemplateError, match="Unknown role tool"):
        TOKENIZER.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)
