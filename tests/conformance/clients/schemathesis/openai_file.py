"""OpenAI's published description, laid out for our server: what it says of answers is left as it is, but for what is
written down here, each with its reason. Read by schemathesis.

usage: openai_file.py <openapi.yaml> <written.json>
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
TEXT_ONLY = {
    "ChatCompletionRequestUserMessageContentPart": "ChatCompletionRequestMessageContentPartText",
    "ChatCompletionRequestAssistantMessageContentPart": "ChatCompletionRequestMessageContentPartText",
    "InputContent": "InputTextContent",
}
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
REFUSED = {
    "CreateChatCompletionRequest": ("modalities", "audio", "web_search_options", "functions", "function_call"),
    "CreateCompletionRequest": ("suffix", "best_of"),
    "CreateResponse": ("previous_response_id", "conversation", "background", "prompt", "truncation", "reasoning"),
}


def laid_out(description: Json) -> Json:
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
    lay_out_requests(schemas)
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
    # The clients that ask for base64, which is described, decode a text.
    vector = schemas["Embedding"]["properties"]
    vector["embedding"] = {"anyOf": [vector["embedding"], {"type": "string"}]}
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


def lay_out_requests(schemas: Json) -> None:
    """Without what is refused by name, so that requests get past it."""
    for name, refused in REFUSED.items():
        fields = {field: each for field, each in properties(schemas[name], schemas).items() if field not in refused}
        parts = (schemas[name], *schemas[name].get("allOf", ()))
        required = [*dict.fromkeys(field for part in parts for field in part.get("required", ()))]
        schemas[name] = {"type": "object", "properties": fields, "required": required}
    for name, text in TEXT_ONLY.items():
        schemas[name] = reference(text)
    schemas["CreateChatCompletionRequest"]["properties"]["tools"]["items"] = reference("ChatCompletionTool")
    schemas["CreateResponse"]["properties"]["tools"] = {"type": "array", "items": reference("FunctionTool")}
    schemas["CreateResponse"]["required"].append("input")  # there are no stored prompts to take its place
    file = schemas["CreateFileRequest"]["properties"]
    file["purpose"] = {"type": "string", "enum": ["batch"]}
    del file["expires_after"]  # clients send its fields as two parts, which the file does not say


def properties(schema: Json, schemas: Json | None = None) -> Json:
    if "$ref" in schema and schemas is not None:
        return properties(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    found: Json = dict(schema.get("properties", {})) if "allOf" in schema else schema.get("properties", {})
    for part in schema.get("allOf", ()):
        found |= properties(part, schemas)
    return found


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def main(source: str, target: str) -> None:
    description = yaml.load(Path(source).read_text(), yaml.CSafeLoader)
    Path(target).write_text(json.dumps(laid_out(description), default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
