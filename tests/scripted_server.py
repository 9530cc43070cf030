"""An OpenAI-compatible server whose models are scripts with known behaviour; for the evaluation's tests.

The problems (`rows`) each have a secret number that every test expects and that only feedback tells:

    reader   guesses wrong first, then prints the number its last feedback says was expected: right at turn 2 if and
             only if the feedback is of its own problem
    echo     sends the same wrong program again and again
    coin     right at once in every second of a problem's conversations, else wrong to the end, each time otherwise
    mute     never sends a program
    hush     sends a program that prints nothing
    torn     sends half of a surrogate pair, which no file can hold
    mender   asked to repair a program, sends 1 for the first time a problem is asked and what the feedback in the
             question says was expected from the second time on
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Messages = list[dict[str, str]]
PROBLEMS = 3


def secret(problem: int) -> int:
    return 1000 + 7 * problem


def rows() -> list[dict[str, Any]]:
    return [
        {
            "name": f"secret-{n}",
            "split": "valid",
            "description": f"Print the secret number of box {n}.",
            "public_tests": {"input": [f"public {n}\n"], "output": [f"{secret(n)}\n"]},
            "private_tests": {"input": [f"private {n}\n"], "output": [f"{secret(n)}\n"]},
            "solutions": {"language": [3], "solution": [f"print({secret(n)})"]},
            "incorrect_solutions": {"language": [3], "solution": [f"print({-n - 1})"]},
        }
        for n in range(PROBLEMS)
    ]


def block(number: int) -> str:
    return f"```python\nprint({number})\n```"


class Models:
    """What each name answers to a conversation."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.lock = threading.Lock()

    def reader(self, messages: Messages) -> str:
        told = re.findall(r"\b(1\d\d\d)\b", messages[-1]["content"]) if len(messages) > 1 else []
        return block(int(told[-1]) if told else 0)

    def echo(self, messages: Messages) -> str:
        return block(5)

    def coin(self, messages: Messages) -> str:
        if len(messages) > 1:
            return block(len(messages))
        (problem,) = map(int, re.findall(r"box (\d+)", messages[0]["content"]))
        with self.lock:
            self.started[str(problem)] += 1
            return block(secret(problem) if self.started[str(problem)] % 2 else 0)

    def mute(self, messages: Messages) -> str:
        return "I would rather not."

    def hush(self, messages: Messages) -> str:
        return "```python\npass\n```"

    def torn(self, messages: Messages) -> str:
        return "half a pair: \ud83d"

    def mender(self, messages: Messages) -> str:
        question = messages[0]["content"]
        with self.lock:
            self.started[question] += 1
            told = re.findall(r"\b(1\d\d\d)\b", question)
            return block(int(told[-1]) if self.started[question] > 1 else 1)


@contextmanager
def serving(
    fail: Callable[[int], int] = lambda request: 0, said: str = "not now", context: int = 0
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(URL, the requests so far). `fail(number of the request)` gives an HTTP error status, or 0 for an answer.

    With a `context` the server says so and refuses as vLLM does what goes beyond it; to it the first message has 50
    tokens, and a longer conversation 300.
    """
    models, requests, lock = Models(), [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            names = ("reader", "echo", "coin", "mute", "hush", "torn", "mender")
            told = {"object": "model", **({"max_model_len": context} if context else {})}
            self.reply(200, {"object": "list", "data": [{"id": name, **told} for name in names]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                requests.append(asked)
                status = fail(len(requests))
            if status:
                return self.reply(status, {"error": {"message": said}}, {"retry-after-ms": "1"})
            prompt, wanted = 50 if len(asked["messages"]) == 1 else 300, asked.get("max_tokens", 0)
            if context and prompt + wanted > context:
                message = (
                    f"'max_tokens' or 'max_completion_tokens' is too large: {wanted}. This model's maximum context "
                    f"length is {context} tokens and your request has {prompt} input tokens"
                )
                return self.reply(400, {"error": {"message": message}})
            text = getattr(models, asked["model"])(asked["messages"])
            usage = {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            body = {"id": "1", "object": "chat.completion", "created": 1, "model": asked["model"]}
            self.reply(200, {**body, "choices": [choice], "usage": usage})

        def reply(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
