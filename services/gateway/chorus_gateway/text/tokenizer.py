"""One base model's tokenizer, with its chat template."""

import asyncio
import json
from collections.abc import Sequence

from tokenizers import Tokenizer

from chorus_gateway.ask import ChatPrompt, Prompt
from chorus_gateway.errors import InvalidRequest
from chorus_gateway.text.bundle import Bundle
from chorus_gateway.text.chat_template import ChatTemplate
from chorus_gateway.text.detokenizer import Decodes, Detokenizer, KeepsMarkers
from chorus_gateway.text.token_bytes import TokenBytes
from chorus_gateway.text.tools.formats import FORMATS, format_of
from chorus_gateway.text.tools.plain import plain
from chorus_gateway.text.tools.short_ids import with_short_ids

# Longer texts are tokenized in a thread: at some millions of characters a second, this many take about a millisecond.
_THREAD_FROM_CHARACTERS = 4096
_THREAD_FROM_TOKENS = 4096  # as many are decoded in 0.15 ms, what a change of threads costs
_CONTEXT_TOKENS = 4


class ModelTokenizer:
    def __init__(self, bundle: Bundle, tool_format: str = "") -> None:
        """`tool_format`: one of FORMATS; else the chat template tells it."""
        self._tokenizer = Tokenizer.from_buffer(bundle.tokenizer_json)
        # A checkpoint may carry its training's settings, which would cut or fill prompts unasked.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        source = bundle.chat_template()
        self.tool_format = FORMATS.get(tool_format) or format_of(source)
        self._template = ChatTemplate(source, bundle.special_tokens()) if source else None
        self.token_bytes = TokenBytes(self._tokenizer, bundle.tokenizer_json)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self._last_id = max(vocabulary.values())
        self.longest_token = max(map(len, vocabulary))  # characters

    async def encode_all(self, prompts: Sequence[Prompt], field: str = "prompt") -> list[tuple[int, ...]]:
        """As `encode`, with a turn for others between two prompts."""
        encoded = [await self.encode(prompts[0], field=field)]
        for prompt in prompts[1:]:
            await asyncio.sleep(0)
            encoded.append(await self.encode(prompt, field=field))
        return encoded

    async def encode(
        self, prompt: Prompt, *, add_special_tokens: bool = True, field: str = "prompt"
    ) -> tuple[int, ...]:
        """Token ids of a prompt. InvalidRequest when an id is unknown, or the chat template refuses or is missing.

        `add_special_tokens`: to a text, those that the tokenizer itself puts around it. `field`: the request's that
        the prompt came in, for errors.
        """
        if isinstance(prompt, tuple):
            return self._checked(prompt, field)
        if isinstance(prompt, ChatPrompt):
            # The template writes the special tokens itself.
            return await self._encode(self._render(prompt), add_special_tokens=False)
        return await self._encode(prompt, add_special_tokens=add_special_tokens)

    async def text_of(self, ids: Sequence[int], field: str = "prompt") -> str:
        """Special tokens included. InvalidRequest when an id is unknown."""
        if len(ids) >= _THREAD_FROM_TOKENS:
            return await asyncio.to_thread(self._text_aside, tuple(ids), field)
        return self._tokenizer.decode(self._checked(tuple(ids), field), skip_special_tokens=False) if ids else ""

    def token_names(self, ids: Sequence[int]) -> list[str]:
        """As the vocabulary has them."""
        return [self._tokenizer.id_to_token(token_id) or "" for token_id in ids]

    def detokenizer(
        self, prompt: Prompt, ids: Sequence[int], *, skip_special_tokens: bool, tools: bool = False
    ) -> Decodes:
        """For the answer to `prompt`, whose token ids are `ids`. A chat's answer is a text of its own. With `tools`,
        what marks their calls is kept, special token or not."""
        context = () if isinstance(prompt, ChatPrompt) else ids[-_CONTEXT_TOKENS:]

        def fresh(context: Sequence[int] = ()) -> Detokenizer:
            return Detokenizer(self._tokenizer, context=context, skip_special_tokens=skip_special_tokens)

        kept = self._marker_ids() if tools else {}
        return KeepsMarkers(fresh, kept) if kept else fresh(context)

    def spell(self, marker: str) -> str:
        """A marker of tool calls, as a grammar has it."""
        for token_id, text in self._marker_ids().items():
            if text == marker:
                return f"<[{token_id}]>"
        return json.dumps(marker)

    def _marker_ids(self) -> dict[int, str]:
        """Of those of the model's markers that are special tokens, so that decoding leaves them out."""
        added = self._tokenizer.get_added_tokens_decoder()
        markers = self.tool_format.markers
        return {number: token.content for number, token in added.items() if token.special and token.content in markers}

    def _checked(self, ids: tuple[int, ...], field: str = "prompt") -> tuple[int, ...]:
        if max(ids) > self._last_id:
            raise InvalidRequest(
                f"{field}: token id {max(ids)} is not one of this model's, which are 0 to {self._last_id}.",
                param=field,
            )
        return ids

    def _render(self, prompt: ChatPrompt) -> str:
        if self._template is None:
            raise InvalidRequest(
                "This model has no chat template: use /v1/completions with a prompt instead.", param=prompt.field
            )
        if not self._template.takes_tools:
            return self._template.render(plain(prompt.messages, prompt.tools), field=prompt.field)
        short = self.tool_format.name.startswith("mistral")
        messages = with_short_ids(prompt.messages) if short else prompt.messages
        return self._template.render(messages, prompt.tools, field=prompt.field)

    async def _encode(self, text: str, *, add_special_tokens: bool) -> tuple[int, ...]:
        if len(text) < _THREAD_FROM_CHARACTERS:
            return self._ids(text, add_special_tokens)
        return await asyncio.to_thread(self._ids_aside, text, add_special_tokens)

    def _ids(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def _ids_aside(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        # Of the library's calls only those on batches let other threads run.
        [encoding] = self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        return tuple(encoding.ids)

    def _text_aside(self, ids: tuple[int, ...], field: str) -> str:
        [text] = self._tokenizer.decode_batch([self._checked(ids, field)], skip_special_tokens=False)
        return text
