"""Tiny byte-level BPE tokenizers with the chat templates of well-known model families, made on the spot.

Each template is a reduced version that keeps what matters for a dialog: special tokens, white space, trimming, the
default system message, what happens to earlier turns. Not called `tokenizers.py`: that would hide the package of that
name.
"""

from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

LLAMA = r"""{{- bos_token }}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n<|eot_id|>" }}
{%- for message in messages %}
    {{- "<|start_header_id|>" + message.role + "<|end_header_id|>\n\n" + message.content | trim + "<|eot_id|>" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|start_header_id|>assistant<|end_header_id|>\n\n" }}{%- endif %}"""

QWEN2 = r"""{{- "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" }}
{%- for message in messages %}
    {{- "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>" + "\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\n" }}{%- endif %}"""

# Without thinking (Qwen3-Instruct-2507, Qwen3-Coder): no default system message.
QWEN3 = r"""{%- if messages[0].role == "system" %}
    {{- "<|im_start|>system\n" + messages[0].content + "<|im_end|>\n" }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>" + "\n" }}
    {%- elif message.role == "assistant" %}
        {{- "<|im_start|>" + message.role + "\n" + message.content }}
        {{- "<|im_end|>\n" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\n" }}{%- endif %}"""

# With thinking: strips that of assistant messages before the last user message; opens a last one with empty thinking.
QWEN3_THINKING = r"""{%- set ns = namespace(last_query=-1) %}
{%- for message in messages %}
    {%- if message.role == "user" %}{%- set ns.last_query = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- set thinking = "" %}
    {%- if message.role == "assistant" and "</think>" in content %}
        {%- set thinking = content.split("</think>")[0].split("<think>")[-1].strip("\n") %}
        {%- set content = content.split("</think>")[-1].lstrip("\n") %}
    {%- endif %}
    {{- "<|im_start|>" + message.role + "\n" }}
    {%- if message.role == "assistant" and loop.index0 > ns.last_query and (loop.last or thinking) %}
        {{- "<think>\n" + thinking + "\n</think>\n\n" }}
    {%- endif %}
    {{- content + "<|im_end|>\n" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant\n" }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- "<think>\n\n</think>\n\n" }}{%- endif %}
{%- endif %}"""

GEMMA = r"""{{- bos_token }}
{%- for message in messages %}
    {%- if (message.role == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("Roles must alternate") }}
    {%- endif %}
    {%- set role = "model" if message.role == "assistant" else message.role %}
    {{- "<start_of_turn>" + role + "\n" + message.content | trim + "<end_of_turn>\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<start_of_turn>model\n" }}{%- endif %}"""

# No special token of its own between the turns but EOS, which has a space before it.
INST = r"""{%- for message in messages %}
    {%- if message.role == "user" %}{{- bos_token + "[INST] " + message.content + " [/INST]" }}
    {%- else %}{{- " " + message.content + " " + eos_token }}{%- endif %}
{%- endfor %}"""

FAMILIES: dict[str, tuple[str, dict[str, str], list[str]]] = {  # name: (template, named special tokens, further ones)
    "llama-3.1": (
        LLAMA,
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        ["<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"],
    ),
    "qwen-2.5": (QWEN2, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, ["<|im_start|>"]),
    "qwen-3": (QWEN3, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, ["<|im_start|>"]),
    "gemma": (GEMMA, {"bos_token": "<bos>", "eos_token": "<eos>"}, ["<start_of_turn>", "<end_of_turn>"]),
}

WITH_SPACE = ("normalizer", "always", "first")  # ways of SentencePiece's kind to begin a text with a space

# Words split from punctuation, up to three digits, line ends kept together: what large vocabularies do.
_SPLIT = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
_TEXT = [
    "def solve(n):\n    return n + 1\n\nprint(solve(int(input())))\n",
    "user assistant model system\n\n",
    "```python\n```\n",
]


def family_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """The tokenizer of one of FAMILIES."""
    template, named, others = FAMILIES[family]
    return make_tokenizer(template, named, others, name=f"tiny-{family}")


def make_tokenizer(
    template: str | None, named: dict[str, str], others: list[str], name: str = "tiny"
) -> PreTrainedTokenizerFast:
    """A byte-level BPE with these special tokens; `<think>` and `</think>` are added tokens, but not special ones."""
    backend = Tokenizer.from_str(_trained())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, name_or_path=name, chat_template=template, additional_special_tokens=others, **named
    )
    tokenizer.add_tokens(["<think>", "</think>"])
    if tokenizer.bos_token:  # as many tokenizers do when asked to add special tokens
        bos = [(tokenizer.bos_token, tokenizer.bos_token_id)]
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            f"{bos[0][0]} $A", special_tokens=bos
        )
    return tokenizer


def metaspace_tokenizer(scheme: str) -> PreTrainedTokenizerFast:
    """As Llama 2 and the first Mistral have it, with INST's template: `▁` for spaces, bytes for what is unknown."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    if scheme == "normalizer":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(_TEXT, trainers.BpeTrainer(vocab_size=500, special_tokens=tokens, show_progress=False))
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, name_or_path=scheme, chat_template=INST, **named)


@cache
def _trained() -> str:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_SPLIT, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(_TEXT * 3, trainer)
    return backend.to_str()
