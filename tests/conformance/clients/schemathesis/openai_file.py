"""OpenAI's published description, laid out for our server: what it says of answers is left as it is, but for what is
written down here, each with its reason. Read by schemathesis.

usage: openai_file.py <openapi.yaml> <written.json> <model>...
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
IMPLEMENTED = {
    "/chat/completions": ("post",),
    "/completions": ("post",),
    "/embeddings": ("post",),
    "/responses": ("post",),
    "/models": ("get",),
    "/models/{model}": ("get",),
    "/files": ("get", "post"),
    "/files/{file_id}": ("get", "delete"),
    "/files/{file_id}/content": ("get",),
    "/batches": ("get", "post"),
    "/batches/{batch_id}": ("get",),
    "/batches/{batch_id}/cancel": ("post",),
}
REFUSALS = ("400", "401", "403", "404", "409", "413", "429")  # it has hardly any, and no body for those
ERROR = {"$ref": "#/components/schemas/ErrorResponse"}
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
TOKENS = 8  # of an answer: what it says does not matter here


def laid_out(description: Json, models: list[str]) -> Json:
    found: Json = with_nulls(description)
    found["paths"] = {
        path: {method: found["paths"][path][method] for method in methods} for path, methods in IMPLEMENTED.items()
    }
    for methods in found["paths"].values():
        for operation in methods.values():
            refusal = {"description": "refused", "content": {"application/json": {"schema": ERROR}}}
            operation["responses"] |= dict.fromkeys(REFUSALS, refusal)
    schemas = found["components"]["schemas"]
    lay_out_answers(found["paths"], schemas)
    lay_out_requests(schemas, models)
    return found


def with_nulls(value: Any) -> Any:
    """`nullable` is a word of OpenAPI 3.0 that the file, which is 3.1, uses still: read as it is meant."""
    if isinstance(value, list):
        return [with_nulls(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: with_nulls(each) for name, each in value.items() if name != "nullable"}
    return {"anyOf": [found, {"type": "null"}]} if value.get("nullable") is True else found


def lay_out_answers(paths: Json, schemas: Json) -> None:
    # A file's bytes are no JSON text, and OpenAI sends none either.
    paths["/files/{file_id}/content"]["get"]["responses"]["200"]["content"] = {"application/octet-stream": {}}
    # A prompt's first token has no past and so no probability: null, as OpenAI sends it with `echo`.
    logprobs = properties(schemas["CreateCompletionResponse"])["choices"]["items"]["properties"]["logprobs"]
    scores = logprobs["anyOf"][0]["properties"]
    for name in ("token_logprobs", "top_logprobs"):
        scores[name]["items"] = or_null(scores[name]["items"])
    # Streams: the file names the objects but not how they are sent, and has no stream of completions at all.
    chunk = json.loads(json.dumps(schemas["CreateCompletionResponse"]))
    reason = chunk["properties"]["choices"]["items"]["properties"]
    reason["finish_reason"] = or_null(reason["finish_reason"])  # until the end, as in a chat's stream
    chunk["properties"]["usage"] = or_null(chunk["properties"]["usage"])  # as `include_usage` is described
    schemas["CompletionChunk"] = chunk
    streams = {
        "/chat/completions": "CreateChatCompletionStreamResponse",
        "/completions": "CompletionChunk",
        "/responses": "ResponseStreamEvent",
    }
    for path, name in streams.items():
        content = paths[path]["post"]["responses"]["200"]["content"]
        content["text/event-stream"] = {"schema": event(name)}


def event(name: str) -> Json:
    """Each event carries one such object as JSON, or an error, or ends the stream."""
    carried = {"anyOf": [{"$ref": f"#/components/schemas/{name}"}, ERROR]}
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": carried}
    return {"type": "object", "required": ["data"], "properties": {"data": {"anyOf": [{"const": "[DONE]"}, text]}}}


def lay_out_requests(schemas: Json, models: list[str]) -> None:
    """So that many of them are answered, and soon. What is wrong is sent too, as schemathesis makes it of these."""
    for name in ("CreateChatCompletionRequest", "CreateCompletionRequest", "CreateEmbeddingRequest", "CreateResponse"):
        schemas[name] = bounded(schemas[name], schemas, models)
    purpose = schemas["CreateFileRequest"]["properties"]
    purpose["purpose"] = {"type": "string", "enum": ["batch"]}


def bounded(schema: Json, schemas: Json, models: list[str]) -> Json:
    """One flat object of the parts that the file puts together."""
    found: Json = {"type": "object", "properties": properties(schema, schemas), "required": ["model"]}
    for part in (schema, *schema.get("allOf", ())):
        found["required"] += [name for name in part.get("required", ()) if name not in found["required"]]
    found["properties"]["model"] = {"type": "string", "enum": models}
    for name in LIMITS:
        if name in found["properties"]:
            found["properties"][name] = {"type": "integer", "minimum": 1, "maximum": TOKENS}
            found["required"] = [*dict.fromkeys([*found["required"], name])]
    for name in ("n", "best_of"):
        if name in found["properties"]:
            found["properties"][name] = {"type": "integer", "minimum": 1, "maximum": 2}
    return found


def properties(schema: Json, schemas: Json | None = None) -> Json:
    if "$ref" in schema and schemas is not None:
        return properties(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    found: Json = dict(schema.get("properties", {})) if "allOf" in schema else schema.get("properties", {})
    for part in schema.get("allOf", ()):
        found |= properties(part, schemas)
    return found


def or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def main(source: str, target: str, *models: str) -> None:
    description = yaml.load(Path(source).read_text(), yaml.CSafeLoader)  # noqa: S506 - a safe loader, in C
    Path(target).write_text(json.dumps(laid_out(description, list(models)), default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
