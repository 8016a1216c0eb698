"""The grading of a stack, against an API made of the tasks' own answers."""

import json
from collections import Counter
from pathlib import Path

import evaluate
import httpx
import pytest
from evaluate import Asker, Result, Unanswered, report, settings
from tasks import TASKS

COUNT = 12


class FakeApi:
    """Right for adapters and sorry for the base, unless told otherwise; busy at first."""

    def __init__(self, wrong_after: int | None = None, clever_base: bool = False, length_limited: bool = False) -> None:
        self.wrong_after = wrong_after
        self.clever_base = clever_base
        self.length_limited = length_limited
        self.asked: Counter[tuple[str, str]] = Counter()
        self.busy = 3  # requests that are told to come again
        self.right = {
            example.prompt: example.answer for task in TASKS.values() for example in task.examples("test", COUNT)
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert request.url.path == "/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer key"
        assert body["temperature"] == 0
        if self.busy:
            self.busy -= 1
            return httpx.Response(429, headers={"retry-after": "0"})
        model, prompt = body["model"], body["messages"][0]["content"]
        self.asked[model, prompt] += 1
        knows = "@" in model or self.clever_base
        if self.wrong_after is not None and self.asked[model, prompt] > self.wrong_after:
            knows = False
        content = self.right[prompt] if knows else "Sorry."
        finish = "length" if self.length_limited else "stop"
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
        return httpx.Response(200, json={"choices": [choice]})


async def graded(api: FakeApi, names: list[str]) -> list[Result]:
    transport = httpx.MockTransport(api)
    headers = {"Authorization": "Bearer key"}
    async with httpx.AsyncClient(transport=transport, base_url="http://stack/v1", headers=headers) as client:
        return await evaluate.evaluate(Asker(client, 8), "chorus-demo", names, COUNT)


async def test_right_answers_pass_and_are_asked_alone_together_and_singly() -> None:
    api = FakeApi()
    results = await graded(api, list(TASKS))
    assert all(result.passed for result in results)
    assert {(result.own, result.base, result.asked_again) for result in results} == {(1.0, 0.0, 2 * COUNT)}
    assert set(api.asked.values()) == {2, 3}  # some singly too
    assert "FAILED" not in report(results)
    assert next(result.rank for result in results if result.name == "spell") == 4


async def test_an_answer_that_changes_among_others_fails() -> None:
    results = await graded(FakeApi(wrong_after=1), ["reverse"])
    assert not results[0].passed
    assert {question.model for question in results[0].differing} == {"chorus-demo@reverse"}
    assert "FAILED" in report(results)
    assert "another answer when asked again: chorus-demo@reverse: " in report(results)


async def test_a_base_with_the_skill_fails() -> None:
    results = await graded(FakeApi(clever_base=True), ["sort"])
    assert (results[0].base, results[0].passed) == (1.0, False)


async def test_an_answer_that_does_not_end_is_wrong() -> None:
    results = await graded(FakeApi(length_limited=True), ["sort"])
    assert (results[0].own, results[0].passed) == (0.0, False)


async def test_a_refusal_names_the_model_and_status() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"error": {"message": "no such model"}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://stack/v1") as client:
        with pytest.RaisesGroup(pytest.RaisesExc(Unanswered, match=r"chorus-demo@sort answered with HTTP 404.*model")):
            await Asker(client, 1).ask([evaluate.Question("chorus-demo@sort", "Sort: owl")], "one")


def test_settings_come_from_the_environment_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("CHORUS_BASE_URL=http://file/v1\nexport CHORUS_API_KEY='chorus_file'\n")
    assert settings({}, file) == ("http://file/v1", "chorus_file")
    assert settings({"CHORUS_API_KEY": "chorus_env"}, file) == ("http://file/v1", "chorus_env")


def test_a_stack_that_is_not_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "ENV_FILE", tmp_path / "none")
    monkeypatch.delenv("CHORUS_BASE_URL", raising=False)
    monkeypatch.delenv("CHORUS_API_KEY", raising=False)
    assert evaluate.main(["--count", "1"]) == 2
    assert "start the stack with `make up`" in capsys.readouterr().err
    monkeypatch.setenv("CHORUS_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("CHORUS_API_KEY", "key")
    assert evaluate.main(["--count", "1", "--only", "sort"]) == 2
    message = capsys.readouterr().err
    assert "http://127.0.0.1:9" in message
    assert "Traceback" not in message
