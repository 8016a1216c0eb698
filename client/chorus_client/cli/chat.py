"""`chorus chat`."""

import sys
from contextlib import closing, suppress
from typing import Annotated, Any

import typer

from chorus_client.cli.cells import harmless
from chorus_client.cli.connection import asking
from chorus_client.cli.conversation import Answer, Conversation
from chorus_client.cli.failure import Failure, Misuse, sentence
from chorus_client.cli.output import Form, Output, on_terminal, show_json, tell, write
from chorus_client.errors import ChorusError

HELP = "/reset forgets what was said, /model NAME asks another model, /models lists them, /exit or Ctrl-D ends."
PROMPT = "> "


def chat(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", "-m", help="Such as base, base@adapter or base@owner/adapter:prod.")],
    once: Annotated[str | None, typer.Option("--once", help="Ask this alone, print the answer and end.")] = None,
    system: Annotated[str, typer.Option(help="The system message.")] = "",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is the likeliest answer.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    tier: Annotated[str | None, typer.Option(help="priority, default or flex.")] = None,
    output: Output = Form.TABLE,
) -> None:
    """Talk to a model. Ctrl-C stops an answer, Ctrl-D ends. Without a terminal, standard input is the one question."""
    if output is Form.JSON and once is None:
        raise Misuse("--output json needs --once: a conversation is for people.")
    given = {"max_completion_tokens": max_tokens, "temperature": temperature, "seed": seed, "service_tier": tier}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with closing(asking(context)) as transport:
        conversation = Conversation(transport, model, system=system, options=options)
        if once is not None:
            _ask_once(conversation, once, output)
        elif not sys.stdin.isatty():
            _ask_once(conversation, sys.stdin.read().strip(), output)
        else:
            _talk(conversation)


def _ask_once(conversation: Conversation, prompt: str, form: Form) -> None:
    if not prompt:
        raise Misuse("There is no question: give it to --once or on standard input.")
    answer = Answer()
    try:
        for piece in conversation.ask(prompt, answer):
            if form is not Form.JSON:
                _write(piece)
    finally:
        if form is not Form.JSON and answer.text and not answer.text.endswith("\n"):
            write("\n")  # whatever comes next begins a line
    if form is Form.JSON:
        show_json(
            {
                "model": conversation.model,
                "text": answer.text,
                "finish_reason": answer.finish_reason,
                "usage": answer.usage,
            }
        )


def _talk(conversation: Conversation) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401  # input() then has a history and arrow keys
    tell(f"Talking to {conversation.model}. {HELP}")
    while (line := _line()) is not None:
        if line.startswith("/"):
            if line in ("/exit", "/quit"):
                return
            _obey(conversation, line)
        elif line:
            _answer(conversation, line)


def _line() -> str | None:
    """None at the end of the input. Ctrl-C clears what was typed."""
    while True:
        try:
            return input(PROMPT).strip()
        except EOFError:
            write("\n")
            return None
        except KeyboardInterrupt:
            write("\n")


def _answer(conversation: Conversation, prompt: str) -> None:
    """Whatever goes wrong, the conversation goes on."""
    pieces = conversation.ask(prompt, Answer())
    try:
        for piece in pieces:
            _write(piece)
        write("\n")
    except KeyboardInterrupt:
        write("\n")
        tell("(stopped)")
    except (ChorusError, Failure) as error:
        write("\n")
        tell(f"chorus: {sentence(error)}")
    finally:
        pieces.close()  # the gateway hears that nobody reads on, and stops


def _obey(conversation: Conversation, line: str) -> None:
    command, _, argument = line.partition(" ")
    if command == "/reset":
        conversation.reset()
        tell("Forgotten.")
    elif command == "/model" and argument.strip():
        conversation.model = argument.strip()
        tell(f"Talking to {conversation.model}.")
    elif command == "/model":
        tell(f"Talking to {conversation.model}; /model NAME asks another one.")
    elif command == "/models":
        try:
            tell("\n".join(map(harmless, conversation.models())))
        except ChorusError as error:
            tell(f"chorus: {sentence(error)}")
    else:
        tell(HELP if command == "/help" else f"There is no {command}. {HELP}")


def _write(piece: str) -> None:
    """A model may have learnt to write what a terminal obeys; a pipe gets what it wrote."""
    write(harmless(piece) if on_terminal() else piece)
