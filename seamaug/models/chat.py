"""The LLM that writes, on any server with OpenAI's chat API: vLLM's, or a hosted one."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from seamaug.config import GeneratorConfig
from seamaug.log import logger
from seamaug.models.client import Client
from seamaug.models.control_tokens import ControlTokens
from seamaug.models.engines import FREELY, Leave, Reply, Request, most_tokens, too_long
from seamaug.models.retries import Fault, Unreachable
from seamaug.models.sender import Manners
from seamaug.records import user_message

_PATH = "/chat/completions"
_HOPELESS = 16
"""Requests in a row that fail for good: then it is not the requests."""
_CHARS_PER_TOKEN = 4
"""For what a server that does not count tokens has read and written."""
_PROBE = Request(
    operator="probe",
    messages=user_message("Say hello."),
    seed=0,
    max_new_tokens=16,
    temperature=0.01,
    schema={
        "type": "object",
        "properties": {"hello": {"type": "boolean"}},
        "required": ["hello"],
        "additionalProperties": False,
    },
)


class ServerGenerator:
    """A chat model on a server, many requests at a time.

    A request that the server refuses, or that fails in all attempts, is a reply with an error;
    what no request would survive (a wrong key, no server) is raised.
    """

    paid = True

    def __init__(self, config: GeneratorConfig) -> None:
        self._config = config
        manners = Manners(config.in_flight, config.attempts, config.timeout, config.patience)
        self._client = Client(config, "generator", manners)
        card = self._client.card(required=False)
        self.mark = {
            "model": self._client.model,
            "root": card.get("root"),
            "top_p": config.top_p,
            "options": config.engine_options,
        }
        limits = [n for n in (config.max_length, card.get("max_model_len")) if n]
        self.max_length: int | None = min(limits) if limits else None
        self._controls = ControlTokens(_own_control_tokens(config.name))
        self._counts_tokens = True
        self._length_field = "max_tokens"
        self._failures = 0
        self._answered = False
        self.structured = self._probe()

    def stream(
        self, requests: Sequence[Request], leave: Leave = FREELY
    ) -> Iterator[tuple[int, Reply]]:
        """Each request's position and reply, in whatever order they arrive."""
        refused = self._too_long(requests, leave)
        yield from refused.items()
        positions = [i for i in range(len(requests)) if i not in refused]

        def bodies() -> Iterator[dict[str, Any]]:
            for i in positions:
                if not leave.begin([requests[i]]):
                    return
                yield self._body(requests[i])

        stream = self._client.stream(_PATH, bodies(), self._reply, leave.deadline)
        with closing(stream) as answers:
            for order, answer in answers:
                yield positions[order], self._counted(requests[positions[order]], answer)

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "messages": [
                {**turn, "content": self._controls.protected(turn["content"])}
                for turn in request.messages
            ],
            "seed": request.seed,
            "temperature": request.temperature,
            "top_p": self._config.top_p,
            self._length_field: request.max_new_tokens,
        }
        if request.schema is not None and self.structured:
            named = {"name": "reply", "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        body |= self._config.engine_options
        return {name: value for name, value in body.items() if value is not None}

    def _reply(self, answer: Any) -> Reply:
        """The one choice of an answer; raises where it is none (see Sender)."""
        (choice,) = answer["choices"]
        message, reason = choice["message"], choice.get("finish_reason")
        text = message["content"]
        usage = answer.get("usage") or {}
        counts = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        if text is None:  # withheld, or all tokens went into thinking
            why = message.get("refusal") or reason
            return Reply("", f"the server's reply has no text: {why}", False, *counts)
        whole = text.strip().encode("utf-8", "replace").decode()  # no halves of characters
        return Reply(whole, "", reason == "length", *counts)

    def _counted(self, request: Request, answer: Reply | Fault) -> Reply:
        """The reply, or the failure of this one request; raises where it is not this one's."""
        if isinstance(answer, Reply):
            self._failures = 0
            self._answered = True
            shown = "".join(turn["content"] for turn in request.messages)
            answer = replace(answer, text=self._controls.restored(answer.text, shown))
            return answer if answer.prompt_tokens else _estimated(request, answer)
        self._failures += 1
        # One that is forbidden or not found may be moderated or misrouted; many are not. Those that
        # are refused otherwise may just be long, and come back before the first good reply does.
        broken = not answer.lasting or answer.status in (403, 404)
        most = _HOPELESS if broken else _HOPELESS + self._config.in_flight
        hopeless = self._failures >= most and (broken or not self._answered)
        if hopeless or isinstance(answer, Unreachable) or answer.status == 401:
            self._client.fail(answer)
        return Reply(error=f"the server {self._client.redacted(answer.reason)}")

    def _too_long(self, requests: Sequence[Request], leave: Leave) -> dict[int, Reply]:
        """Replies, by position, to requests that the model cannot take, without asking it.

        A token has a byte at least, so most need no counting; the others the server counts, where
        it offers that (vLLM does). Elsewhere those are found that have too many words, each a token
        at least; what is left it refuses itself.
        """
        if self.max_length is None:
            return {}
        doubtful = [
            i
            for i, request in enumerate(requests)
            if too_long(most_tokens(request), request.max_new_tokens, self.max_length)
        ]
        counts = {i: _at_least(requests[i]) for i in doubtful}
        if doubtful and self._counts_tokens:
            bodies = ({"messages": requests[i].messages} for i in doubtful)
            counted = self._client.stream(
                "//tokenize", bodies, lambda answer: int(answer["count"]), leave.deadline
            )
            for order, count in counted:
                if isinstance(count, Fault):
                    self._counts_tokens = count.status not in (404, 405)
                else:
                    counts[doubtful[order]] = count
        return {
            i: Reply(error=reason)
            for i, count in counts.items()
            if (reason := too_long(count, requests[i].max_new_tokens, self.max_length))
        }

    def _probe(self) -> bool:
        """Whether the server holds replies to a schema, asked with a reply of a few tokens.

        A wrong key, name or field shows here, before any work.
        """
        self.structured = self._config.structured is not False
        answer = self._ask_probe()
        if isinstance(answer, Fault) and "max_completion_tokens" in answer.reason:
            self._length_field = "max_completion_tokens"  # OpenAI's newer models
            answer = self._ask_probe()
        if isinstance(answer, Fault) and answer.lasting and self._config.structured is None:
            refusal, self.structured = answer, False
            answer = self._ask_probe()
            if isinstance(answer, Reply):
                self._say_unstructured(self._client.redacted(refusal.reason))
        if isinstance(answer, Fault):
            if answer.status in (400, 422):
                self._client.refuse(
                    f"{answer.reason}; a field that it does not know is left out by "
                    "`generator.engine_options: {FIELD: null}`"
                )
            self._client.fail(answer)
        if self.structured and self._config.structured is None and _ignores_schema(answer):
            self._say_unstructured("takes the schema and does not heed it")
            return False
        return self.structured

    def _ask_probe(self) -> Any:
        return self._client.post(_PATH, self._body(_PROBE), self._reply)

    def _say_unstructured(self, reason: str) -> None:
        logger.info(
            f"{self._client.name} does not hold replies to a JSON schema (it {reason}); they are "
            "parsed as they come"
        )


def _own_control_tokens(name: str) -> set[str]:
    """Of the tokenizer that the server's model has, where it lies on this machine; else none."""
    from transformers import AutoTokenizer

    from seamaug.models.literal import control_tokens
    from seamaug.models.loading import LOADING_ERRORS

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
    except LOADING_ERRORS:
        return set()
    return control_tokens(tokenizer)[1]


def _ignores_schema(reply: Reply) -> bool:
    """Whether a reply is not of the schema's kind, which shows in its first character."""
    return not reply.error and not reply.text.startswith("{")


def _at_least(request: Request) -> int:
    return sum(len(turn["content"].split()) for turn in request.messages)


def _estimated(request: Request, reply: Reply) -> Reply:
    """A reply with roughly counted tokens, for a server that does not say: limits must hold."""
    read = sum(len(message["content"]) for message in request.messages)
    return Reply(
        reply.text,
        reply.error,
        reply.cut,
        prompt_tokens=-(-read // _CHARS_PER_TOKEN),
        new_tokens=-(-len(reply.text) // _CHARS_PER_TOKEN),
    )
