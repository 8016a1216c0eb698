"""The response object, as /v1/responses answers with it and tells of it in events."""

from typing import Any

from chorus_gateway.answer import Opening
from chorus_gateway.api.schemas_responses import ResponseRequest, ResponseTool
from chorus_gateway.api.schemas_usage import CompletionTokensDetails
from chorus_gateway.api.shapes import tier_name
from chorus_gateway.values import Usage


def response_id(opening: Opening) -> str:
    return "resp_" + opening.request_id.removeprefix("req_")


def response_view(body: ResponseRequest, opening: Opening) -> dict[str, Any]:
    """What does not change while it is made."""
    named = {name: getattr(body, name) for name in ("user", "prompt_cache_key", "safety_identifier")}
    return {
        **{name: value for name, value in named.items() if value is not None},
        "id": response_id(opening),
        "object": "response",
        "created_at": opening.created,
        "background": False,
        "conversation": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "model": opening.model.requested,
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": tier_name(opening.band),
        "store": False,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "text": _text(body),
        "tool_choice": "auto" if body.tool_choice is None else body.tool_choice,
        "tools": [_tool(tool) for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "truncation": "disabled",
    }


def usage_view(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0, **CompletionTokensDetails.of(usage).model_dump()},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _text(body: ResponseRequest) -> dict[str, Any]:
    wanted = None if body.text is None else body.text.format
    if wanted is None or wanted.type != "json_schema":
        return {"format": {"type": "text" if wanted is None else wanted.type}}
    described = {"name": wanted.name or "response", "description": wanted.description, "schema": wanted.schema_}
    return {"format": {"type": wanted.type, **described, "strict": bool(wanted.strict)}}


def _tool(tool: ResponseTool) -> dict[str, Any]:
    return {
        "type": tool.type,
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": bool(tool.strict),
    }
