"""A chat template with tools, and what models say in its way."""

from chorus_proto.engine.v1 import engine_pb2 as pb
from tests.gateway.support.fake_engine import Replier, Reply
from tests.gateway.support.tokenizers import END, ids

QWEN = (
    "{%- if tools %}<|system|># Tools\n{%- for tool in tools %}\n{{ tool | tojson }}{%- endfor %}<|end|>{%- endif %}"
    "{%- for message in messages %}<|{{ message.role if message.role != 'tool' else 'user' }}|>{{ message.content }}"
    "{%- for call in message.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{%- endfor %}<|end|>{%- endfor %}<|assistant|>"
)
ROME = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


def says(text: str) -> Replier:
    def reply(submit: pb.Submit) -> Reply:
        return Reply([*ids(text), END])

    return reply
