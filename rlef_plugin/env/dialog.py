"""A conversation as token ids, framed by the chat template of the model's own tokenizer.

The template is applied *by difference*: a conversation is rendered with marks in place of the responses. What stands
before the first mark is the prompt, and what follows the last mark, up to the next generation prompt, is what a
feedback message adds. Generated ids are kept as they were sampled, never decoded and tokenised again, and every prompt
is an exact prefix of the next one, which the engine's prefix cache likes.

Promised: prompt + response + feedback + ... equals the tokens of the whole conversation rendered at once, provided
that no content spells a special token and each response is tokenised as the tokenizer would. Text that does spell one,
in a problem or in what a program printed, becomes ordinary tokens instead. A template that rewrites earlier turns,
such as Qwen3's, which takes the thinking out of them, or frames a later turn unlike the first, is refused when the
Dialog is made.
Not promised: the outer white space of a *response*, which some templates trim once it is history: responses stay in
context as they were generated. Nor a system prompt: there is none but what the template itself adds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rlef_plugin.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Stand-ins for contents: plain words, since templates trim, escape and look for markers such as </think>.
_USER, _ASSISTANT = "xUSERxMARKx", "xASSISTANTxMARKx"
_THINKING = f"<think>\nxTHOUGHTxMARKx\n</think>\n\n{_ASSISTANT}"  # the form of a response that thinks


class Dialog:
    """The token ids of conversations under one tokenizer; it holds none, so one instance serves all episodes."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise UsageError, naming the tokenizer, if its chat template cannot be applied by difference."""
        self._tokenizer = tokenizer
        self.name: str = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
        closing, after = self._checked_frame()
        self._control = self._control_pattern(self._render([_USER]) + closing + after)
        ids = self._encode(closing)
        self._closing_length, self._after = len(ids), after
        if not self.closing_overhead():
            raise self._refusal("puts no token between two turns, so they could not be told apart")
        self.end_of_turn_id, self._end_of_turn_length = self._find_end_of_turn(closing, ids)

    def prompt_tokens(self, first_message: str, *, prefill: str = "") -> list[int]:
        """Ids of the first message and the generation prompt; `prefill` opens the response on the model's behalf."""
        return self._message_tokens([], first_message, prefill)

    def feedback_tokens(self, feedback: str, last_generated_id: int | None, *, prefill: str = "") -> list[int]:
        """Ids between a generated response and the next one: the end of its turn, the feedback, the generation prompt.

        `last_generated_id` is the last id the engine returned. If it is the template's end-of-turn token, it is not
        repeated; after any other (cut by length, another stop token, None for nothing generated) the turn is closed
        here.
        """
        ids = self._message_tokens([_USER, _ASSISTANT], feedback, prefill)
        closed = last_generated_id is not None and last_generated_id == self.end_of_turn_id
        return ids[self._end_of_turn_length :] if closed else ids

    def closing_overhead(self, prefill: str = "") -> int:
        """Tokens a feedback message adds to its own: the end of the response's turn, both headers, the prefill."""
        return self._closing_length + len(self._encode_pieces((self._after, False), (_clean(prefill), True)))

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` as the content of a message, without the template's own."""
        return len(self._encode_pieces((_clean(text), True)))

    def decode(self, ids: list[int]) -> str:
        """Their text, special tokens included."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _message_tokens(self, history: list[str], message: str, prefill: str) -> list[int]:
        """Ids of what follows the last response of `history`: end of turn, `message`, generation prompt, prefill."""
        before, _, after = self._render([*history, _USER]).rpartition(_USER)
        text = self._render([*history, _clean(message)])
        # The template may have trimmed the message, so it is found by what surrounds it.
        if len(text) < len(before) + len(after) or not (text.startswith(before) and text.endswith(after)):
            raise UsageError(f"The chat template of {self.name!r} frames {message[:60]!r} unlike other messages.")
        content = text[len(before) : len(text) - len(after)]
        closing = before.rpartition(_ASSISTANT)[2]
        return self._encode_pieces((closing, False), (content, True), (after, False), (_clean(prefill), True))

    def _encode_pieces(self, *pieces: tuple[str, bool]) -> list[int]:
        """Tokenise pieces of (text, is content) as one text, cutting through any control token that content spells.

        Without such a spelling nothing is cut and merges across the border of two pieces are the tokenizer's own.
        """
        text, cuts = "", []
        for piece, is_content in pieces:
            if is_content:
                cuts += [len(text) + match.start() + 1 for match in self._control.finditer(piece)]
            text += piece
        first, *rest = (text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True))
        return self._encode(first) + [i for part in rest for i in self._encode_within(part)]

    def _encode_within(self, text: str) -> list[int]:
        """The ids of `text` inside of a longer one; tokenizers of SentencePiece's kind begin any text with a space."""
        anchor = self._encode("\n")
        ids = self._encode("\n" + text)
        return ids[len(anchor) :] if ids[: len(anchor)] == anchor else self._encode(text)

    def _encode(self, text: str) -> list[int]:
        # The template writes the BOS token where it wants one, so the tokenizer must not.
        return list(self._tokenizer.encode(text, add_special_tokens=False, verbose=False)) if text else []

    def _render(self, contents: list[str]) -> str:
        messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _checked_frame(self) -> tuple[str, str]:
        """What the template writes between a response and a feedback message, and after that; or refuse it."""
        if not self._tokenizer.chat_template:
            raise UsageError(
                f"The tokenizer {self.name!r} has no chat template: choose an instruction-tuned model "
                f"(actor.model_name_or_path) or save one with the tokenizer."
            )
        turns = [_USER, _ASSISTANT, _USER, _ASSISTANT, _USER]
        try:
            first, second, third = (self._render(turns[:n]) for n in (1, 3, 5))
        except Exception as error:  # a template is a program: whatever it raises is a reason to refuse it
            raise self._refusal(f"fails on a user-assistant-user dialog: {error}") from error
        if [text.count(_USER) for text in (first, second, third)] != [1, 2, 3] or third.count(_ASSISTANT) != 2:
            raise self._refusal("drops, repeats or changes the text of a message")
        added = [later.removeprefix(earlier) for earlier, later in ((first, second), (second, third))]
        # A model may have to write a space first. A rendering that does not begin with the earlier one stays whole.
        if not all(text.lstrip().startswith(_ASSISTANT) for text in added):
            raise self._refusal("rewrites earlier turns once a new one is added")
        if added[0] != added[1]:
            raise self._refusal("frames the third turn unlike the second")
        if _THINKING not in self._render([_USER, _THINKING, _USER]):
            raise self._refusal("takes the thinking (<think>...</think>) out of earlier turns")
        closing, _, after = added[0].lstrip().removeprefix(_ASSISTANT).partition(_USER)
        return closing, after

    def _control_pattern(self, frame: str) -> re.Pattern[str]:
        """Every place where a special token, or another added token the template itself writes, is spelled.

        A look-ahead, so that overlapping spellings are all found. A token of one character cannot be cut and is left
        out.
        """
        added = self._tokenizer.added_tokens_decoder.values()
        tokens = {token.content for token in added if token.special or token.content in frame}
        spelled = [re.escape(token) for token in sorted(tokens, key=len, reverse=True) if len(token) > 1]
        return re.compile(f"(?=({'|'.join(spelled)}))" if spelled else r"(?!)")

    def _find_end_of_turn(self, closing: str, ids: list[int]) -> tuple[int | None, int]:
        """The control token that ends a response and the ids of `closing` up to it; (None, 0) if plain text does."""
        match = self._control.search(closing)
        if match is None or closing[: match.start()].strip():
            return None, 0
        # Special tokens split the text before anything else, so up to its end the ids are the same in any message.
        length = len(self._encode(closing[: match.end(1)]))
        return ids[length - 1], length

    def _refusal(self, reason: str) -> UsageError:
        return UsageError(
            f"The chat template of {self.name!r} {reason}; multi-turn training needs one that only appends: "
            f"choose another model (actor.model_name_or_path) or change the tokenizer's chat_template."
        )


def check_fits(
    *, prompt_tokens: int, turn_limit: int, max_new_tokens: int, feedback_tokens: int, overhead: int, max_len: int
) -> None:
    """Raise UsageError unless a whole episode fits the context: prompt, every response, the feedback between them."""
    per_feedback = feedback_tokens + overhead
    need = prompt_tokens + turn_limit * max_new_tokens + (turn_limit - 1) * per_feedback
    if need > max_len:
        raise UsageError(
            f"{turn_limit} turns take {need} tokens (prompt {prompt_tokens}, "
            f"responses {turn_limit} x {max_new_tokens}, feedback {turn_limit - 1} x {per_feedback}), "
            f"but data.max_len is {max_len}: "
            f"raise it, or lower rlef.turn_limit, rollout.max_new_tokens or rlef.feedback_tokens."
        )


def _clean(text: str) -> str:
    """`text` without lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
