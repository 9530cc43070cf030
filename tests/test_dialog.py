"""The dialog against whole renderings of the same conversation, for the templates of four model families."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import (
    FAMILIES,
    INST,
    LLAMA,
    QWEN2,
    QWEN3_THINKING,
    WITH_SPACE,
    family_tokenizer,
    make_tokenizer,
    metaspace_tokenizer,
)

from rlef_plugin.env.dialog import Dialog, check_fits
from rlef_plugin.errors import UsageError

END_OF_TURN = {"llama-3.1": "<|eot_id|>", "qwen-2.5": "<|im_end|>", "qwen-3": "<|im_end|>", "gemma": "<end_of_turn>"}
LLAMA_TOKENS = FAMILIES["llama-3.1"][1:]
QWEN_TOKENS = FAMILIES["qwen-2.5"][1:]

_DIALOGS = {family: Dialog(family_tokenizer(family)) for family in FAMILIES}
_TOKENIZERS = {family: family_tokenizer(family) for family in FAMILIES}

families = pytest.mark.parametrize("family", FAMILIES)

# User text may start and end with white space, which templates trim or not; a response starts and ends with a letter.
_chars = "ab9 \n\t\r`<|>_#é漢🙂\x00\x0b"
user_text = st.text(_chars, max_size=30)
response_text = st.text(_chars, max_size=20).map(lambda text: f"a{text}z")


def whole(tokenizer, contents: list[str]) -> list[int]:
    """The tokens of a conversation rendered at once, by the tokenizer's own means."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    return tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=False)


def turn_by_turn(dialog: Dialog, tokenizer, contents: list[str], end_of_turn: str) -> list[int]:
    ids = dialog.prompt_tokens(contents[0])
    for response, feedback in zip(contents[1::2], contents[2::2], strict=True):
        ids += [*tokenizer.encode(response, add_special_tokens=False), tokenizer.convert_tokens_to_ids(end_of_turn)]
        ids += dialog.feedback_tokens(feedback, ids[-1])
    return ids


@families
@settings(max_examples=60, deadline=None)
@given(users=st.lists(user_text, min_size=3, max_size=3), responses=st.lists(response_text, min_size=2, max_size=2))
def test_turn_by_turn_equals_the_whole_rendering(family, users, responses):
    tokenizer = _TOKENIZERS[family]
    contents = [users[0], responses[0], users[1], responses[1], users[2]]
    ids = turn_by_turn(_DIALOGS[family], tokenizer, contents, END_OF_TURN[family])
    assert ids == whole(tokenizer, contents)


@families
def test_a_response_cut_by_length_is_closed(family):
    tokenizer, dialog = _TOKENIZERS[family], _DIALOGS[family]
    contents = ["Problem.", "partial resp", "Feedback."]
    generated = tokenizer.encode(contents[1], add_special_tokens=False)
    ids = dialog.prompt_tokens(contents[0]) + generated
    assert ids + dialog.feedback_tokens(contents[2], generated[-1]) == whole(tokenizer, contents)


@families
def test_another_stop_token_or_nothing_at_all_does_not_count_as_the_end_of_the_turn(family):
    dialog = _DIALOGS[family]
    end = _TOKENIZERS[family].convert_tokens_to_ids(END_OF_TURN[family])
    assert dialog.end_of_turn_id == end
    closed, open_ = dialog.feedback_tokens("Again.", end), dialog.feedback_tokens("Again.", None)
    assert open_ == [end, *closed]
    assert dialog.feedback_tokens("Again.", end + 1) == open_


def test_the_literal_tokens_of_a_llama_feedback():
    # <|eot_id|> (missing: cut by length), the user header with its blank line, the text, its end, the assistant header
    tokens = _TOKENIZERS["llama-3.1"].convert_ids_to_tokens(_DIALOGS["llama-3.1"].feedback_tokens(" no \n", 5))
    header = ["<|start_header_id|>", "user", "<|end_header_id|>", "ĊĊ"]
    assert [t for t in tokens if t not in "user"] and "".join(tokens) == "".join(
        ["<|eot_id|>", *header, "no", "<|eot_id|>", "<|start_header_id|>", "assistant", "<|end_header_id|>", "ĊĊ"]
    )


@families
def test_bos_comes_once_if_the_template_writes_it(family):
    tokenizer = _TOKENIZERS[family]
    ids = _DIALOGS[family].prompt_tokens("Problem.") + _DIALOGS[family].feedback_tokens("Again.", None)
    if tokenizer.bos_token is None:
        assert "bos_token" not in FAMILIES[family][0]
    else:
        assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id


@families
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_special_tokens_spelled_by_content_stay_text(family, data):
    tokenizer, dialog = _TOKENIZERS[family], _DIALOGS[family]
    spelled = [*tokenizer.all_special_tokens, "<", "<|", "x", "\n", "<<|eot_id|>>"]
    text = "".join(data.draw(st.lists(st.sampled_from(spelled), min_size=1, max_size=8)))
    special = set(tokenizer.all_special_ids)
    for make in (dialog.prompt_tokens, lambda message: dialog.feedback_tokens(message, None)):
        frame = [i for i in make("plain") if i in special]
        ids = make(f"a{text}z")
        assert [i for i in ids if i in special] == frame
        assert f"a{text}z" in tokenizer.decode(ids)  # and nothing of it is lost


@pytest.mark.parametrize("scheme", WITH_SPACE)
@pytest.mark.parametrize("text", ["a</s>z", "it printed </s> twice", "<s></s><unk>", "x <</s>> y"])
def test_a_spelled_special_token_gets_no_space_where_it_is_cut(scheme, text):
    tokenizer = metaspace_tokenizer(scheme)
    dialog = Dialog(tokenizer)
    for ids in (dialog.prompt_tokens(text), dialog.feedback_tokens(text, dialog.end_of_turn_id)):
        assert f"[INST] {text} [/INST]" in tokenizer.decode(ids)
        assert ids.count(tokenizer.bos_token_id) == 1 and tokenizer.eos_token_id not in ids


def test_a_special_token_inside_another_one_stays_text_too():
    tokenizer = make_tokenizer(QWEN2, QWEN_TOKENS[0], [*QWEN_TOKENS[1], "[x]", "[[x]]"])
    special = tokenizer.convert_tokens_to_ids(["[x]", "[[x]]"])
    assert special[1] in tokenizer.encode("[[x]]")
    assert not set(special) & set(Dialog(tokenizer).prompt_tokens("a [[x]] [x]"))


@families
def test_count_is_that_of_ordinary_text(family):
    tokenizer, dialog = _TOKENIZERS[family], _DIALOGS[family]
    assert dialog.count_tokens("") == 0
    assert dialog.count_tokens("print(1)\n") == len(tokenizer.encode("print(1)\n", add_special_tokens=False))
    assert dialog.count_tokens(END_OF_TURN[family]) > 1


def test_an_added_token_is_control_only_if_the_template_writes_it():
    named, others = QWEN_TOKENS
    think = make_tokenizer(QWEN2, named, others).convert_tokens_to_ids("<think>")
    assert think in Dialog(make_tokenizer(QWEN2, named, others)).prompt_tokens("a <think> b")
    opened = QWEN2.replace('"<|im_start|>assistant\\n"', '"<|im_start|>assistant\\n<think>"').replace(
        '"<|im_start|>" + message.role + "\\n"',
        '"<|im_start|>" + message.role + "\\n" + ("<think>" if message.role == "assistant" else "")',
    )
    assert Dialog(make_tokenizer(opened, named, others)).prompt_tokens("a <think> b").count(think) == 1


@families
def test_prefill_opens_the_response(family):
    tokenizer, dialog = _TOKENIZERS[family], _DIALOGS[family]
    prompt = dialog.prompt_tokens("Problem.", prefill="def f():")
    rest = tokenizer.encode("\n    return 1", add_special_tokens=False)
    ids = prompt + rest + dialog.feedback_tokens("Again.", rest[-1], prefill="def f():")
    text = tokenizer.decode(ids)
    assert text.count("def f():") == 2 and text.endswith("def f():")
    assert prompt[: len(dialog.prompt_tokens("Problem."))] == dialog.prompt_tokens("Problem.")
    special = tokenizer.all_special_ids
    assert sum(i in special for i in dialog.prompt_tokens("p", prefill=END_OF_TURN[family])) == sum(
        i in special for i in dialog.prompt_tokens("p")
    )


@families
def test_overhead_is_what_a_feedback_message_adds(family):
    dialog = _DIALOGS[family]
    for text in ("Again.", "Two words"):
        assert len(dialog.feedback_tokens(text, None)) == dialog.closing_overhead() + dialog.count_tokens(text)


def test_lone_surrogates_are_replaced():
    dialog = _DIALOGS["qwen-2.5"]
    assert dialog.prompt_tokens("a\ud800b") == dialog.prompt_tokens("a?b")
    assert dialog.feedback_tokens("\udfff", None) == dialog.feedback_tokens("?", None)
    assert dialog.count_tokens("\ud800") == 1


def test_an_end_of_turn_after_a_space_is_found():
    tokenizer = make_tokenizer(INST, {"bos_token": "<s>", "eos_token": "</s>"}, [])
    dialog = Dialog(tokenizer)
    space = tokenizer.encode(" ", add_special_tokens=False)
    assert dialog.end_of_turn_id == tokenizer.eos_token_id
    assert dialog.feedback_tokens("x", 5) == [
        *space,
        tokenizer.eos_token_id,
        *dialog.feedback_tokens("x", tokenizer.eos_token_id),
    ]


def test_a_template_in_plain_text_has_no_end_of_turn_to_drop():
    plain = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{{ 'assistant: ' }}"
    dialog = Dialog(make_tokenizer(plain, {"eos_token": "<e>"}, []))
    newline = dialog.feedback_tokens("x", None)[0]
    assert dialog.end_of_turn_id is None
    assert dialog.feedback_tokens("x", newline) == dialog.feedback_tokens("x", None)


# --- Refusals: each names the tokenizer, the reason and the key to change ---

LAST_TWO_ONLY = LLAMA.replace("in messages", "in messages[-2:]")
NO_HISTORY_HEADER = LLAMA.replace('message.content | trim + "<|eot_id|>"', '(message.content if loop.last else "…")')
NUMBERED = QWEN2.replace(
    "message.content", '(loop.index | string if message.role == "user" else "") + message.content'
)
REMINDER_AT_END = QWEN2.replace(
    'message.content + "<|im_end|>"', 'message.content + ("Think!" if loop.last else "") + "<|im_end|>"'
)
NO_THINKING = QWEN3_THINKING.replace("enable_thinking is defined and enable_thinking is false", "true")
LAST_ANSWER = LLAMA.replace("message.content | trim", "message.content.split('</think>') | last | trim")
UPPER = LLAMA.replace("message.content | trim", "message.content | upper")
DOUBLED = LLAMA.replace("message.content | trim", "(message.content + message.content)")
ONE_TURN = LLAMA.replace(
    "{%- for", '{%- if messages | length > 1 %}{{- raise_exception("one turn only") }}{%- endif %}{%- for', 1
)
NOTHING_BETWEEN = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (LAST_TWO_ONLY, "drops, repeats or changes the text of a message"),
        (NO_HISTORY_HEADER, "drops, repeats or changes the text of a message"),
        (UPPER, "drops, repeats or changes the text of a message"),
        (DOUBLED, "drops, repeats or changes the text of a message"),
        (REMINDER_AT_END, "rewrites earlier turns"),
        (NO_THINKING, "rewrites earlier turns"),
        (QWEN3_THINKING, "takes the thinking (<think>...</think>) out of earlier turns"),
        (LAST_ANSWER, "takes the thinking (<think>...</think>) out of earlier turns"),
        (NUMBERED, "frames the third turn unlike the second"),
        (ONE_TURN, "one turn only"),
        (NOTHING_BETWEEN, "no token between two turns"),
    ],
)
def test_a_template_that_cannot_be_appended_to_is_refused(template, reason):
    named, others = LLAMA_TOKENS if "start_header" in template else QWEN_TOKENS
    with pytest.raises(UsageError, match=re.escape(reason)) as error:
        Dialog(make_tokenizer(template, named, others, name="my/model"))
    assert "'my/model'" in str(error.value) and "actor.model_name_or_path" in str(error.value)


def test_thinking_that_a_template_keeps_stays_as_it_was_generated():
    contents = ["Problem.", "<think>\nHm.\n</think>\n\nAnswer", "Again.", "<think>\n\n</think>\n\nBetter", "Last."]
    for family in FAMILIES:
        tokenizer = _TOKENIZERS[family]
        ids = turn_by_turn(_DIALOGS[family], tokenizer, contents, END_OF_TURN[family])
        assert ids == whole(tokenizer, contents)


def test_a_tokenizer_without_a_template_is_refused():
    with pytest.raises(UsageError, match="'my/model' has no chat template.*actor.model_name_or_path"):
        Dialog(make_tokenizer(None, *LLAMA_TOKENS, name="my/model"))


def test_a_message_that_a_template_frames_differently_is_an_error():
    moody = QWEN2.replace("message.role +", 'message.role + ("!" if "boo" in message.content else "") +')
    dialog = Dialog(make_tokenizer(moody, *QWEN_TOKENS, name="my/model"))
    with pytest.raises(UsageError, match="'my/model' frames 'boo' unlike"):
        dialog.prompt_tokens("boo")


# --- Room in the context ---


def test_fits_counts_every_turn_but_no_feedback_after_the_last():
    # 100 + 3 x 50 + 2 x (20 + 5) = 300
    sizes = {"prompt_tokens": 100, "turn_limit": 3, "max_new_tokens": 50, "feedback_tokens": 20, "overhead": 5}
    check_fits(**sizes, max_len=300)
    with pytest.raises(UsageError, match=r"3 turns take 300 tokens .*data.max_len is 299"):
        check_fits(**sizes, max_len=299)
