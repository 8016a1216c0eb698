"""What a person reads once everything is up."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.stack.config import ROOT, StackConfig
from scripts.stack.http import ask
from scripts.stack.seed import ADAPTERS, BASE

EXAMPLES = {
    f"{BASE}@reverse": "Reverse the word garden.",
    f"{BASE}@upper": "Shout: red garden",
}

BANNER = """
Chorus is up at {address}   (API page: {address}/docs)

  tenant key    {key}
  kept in       {env_file}, with the administrator's key
  models        {models}
  logs          {logs}

Try, in another terminal in this folder:

set -a; . {env_file}; set +a

curl -s $CHORUS_BASE_URL/chat/completions -H "Authorization: Bearer $CHORUS_API_KEY" -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "{prompt}"}}]}}'

{python} -c 'import openai, os
client = openai.OpenAI(base_url=os.environ["CHORUS_BASE_URL"], api_key=os.environ["CHORUS_API_KEY"])
for chunk in client.chat.completions.create(model="{model}", stream=True, messages=[{{"role": "user", "content": "{prompt}"}}]):
    print(chunk.choices[0].delta.content or "", end="", flush=True)'

curl -s ${{CHORUS_BASE_URL%/v1}}/admin/v1/adapters -H "Authorization: Bearer $CHORUS_ADMIN_KEY" \\
  -F tenant=demo -F name=mine -F model={base} \\
  -F adapter_config=@{adapter}/adapter_config.json -F adapter_model=@{adapter}/adapter_model.safetensors

Ctrl-C or `make down` stops everything; uploads, tenants and keys stay.
"""  # noqa: E501  # commands to copy


def banner(config: StackConfig, values: Mapping[str, str], env_file: Path) -> str:
    models = served_models(config.gateway_url, values["CHORUS_API_KEY"])
    model = next((name for name in EXAMPLES if name in models), models[0] if models else BASE)
    adapter = ADAPTERS / "reverse"
    return BANNER.format(
        address=config.gateway_url,
        key=values["CHORUS_API_KEY"],
        env_file=shown(env_file),
        logs=shown(config.log("gateway").parent),
        models=", ".join(models),
        model=model,
        prompt=EXAMPLES.get(model, "Hello!"),
        base=model.rpartition("@")[0] or model,
        adapter=shown(adapter) if config.demo else "<folder>",
        python=".venv/bin/python",
    )


def served_models(gateway_url: str, key: str) -> Sequence[str]:
    listed = ask("GET", f"{gateway_url}/v1/models", key=key).json()
    return [str(model["id"]) for model in listed["data"]] if isinstance(listed, dict) and "data" in listed else []


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
