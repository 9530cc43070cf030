"""A tokenizer and a Llama small enough for a CPU, and a warm-up that gives them something to say.

The head dimension is 32, the least vLLM's CPU attention takes; weights are saved in bfloat16, as the host loads them.
"""

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BEGIN, HEADER, END_HEADER, END_OF_TURN, PAD = SPECIAL = (
    "<|begin|>",
    "<|header|>",
    "<|end_header|>",
    "<|eot|>",
    "<|pad|>",
)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    f"{HEADER}{{{{ message['role'] }}}}{END_HEADER}\n{{{{ message['content'] }}}}{END_OF_TURN}"
    "{% endfor %}{% if add_generation_prompt %}"
    f"{HEADER}assistant{END_HEADER}\n"
    "{% endif %}"
)
HEAD_DIM = 32


@dataclass(frozen=True, slots=True)
class Example:
    """One dialog to learn from: token ids, and which of them the model should learn to write."""

    ids: list[int]
    learned: list[bool]  # len(ids); True on response tokens


LINES = r"\n|[0-9]|[^\n0-9]+"  # a piece may run over spaces but not over lines, so that idioms become one token


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, *, pieces: str = LINES, longest: int = 24, whole: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Byte-level BPE over `texts`, within `pieces` and up to `longest` characters; those in `whole` are one token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=longest,
        show_progress=False,
    )
    ordinary = re.compile("|".join(map(re.escape, sorted(whole, key=len, reverse=True))) or r"(?!)")
    bpe.train_from_iterator((part for text in texts for part in ordinary.split(text)), trainer)
    bpe.add_tokens([AddedToken(text, normalized=False) for text in whole])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BEGIN, eos_token=END_OF_TURN, pad_token=PAD)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def new_llama(
    tokenizer: PreTrainedTokenizerFast, *, hidden: int, layers: int, max_len: int, seed: int
) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD_DIM,
        num_key_value_heads=hidden // HEAD_DIM,
        max_position_embeddings=max_len,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def warm_up(
    model: LlamaForCausalLM,
    draw: Callable[[random.Random], Example],
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """Language-model loss on the learned tokens of freshly drawn examples; returns the last step's loss.

    With one thread: products this small gain nothing from a second one, and where it has to wait for a core, the first
    spins meanwhile (the demo's model: 86 s of CPU, and more than 600 s with two threads beside another program).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _warm_up(model, draw, steps, batch, lr, seed, on_step)
    finally:
        torch.set_num_threads(threads)


def _warm_up(
    model: LlamaForCausalLM,
    draw: Callable[[random.Random], Example],
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    on_step: Callable[[int, float], None],
) -> float:
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    loss_value, pad = float("nan"), int(model.config.pad_token_id or 0)
    model.train()
    for step in range(steps):
        ids, labels = _collate([draw(rng) for _ in range(batch)], pad)
        logits = model(input_ids=ids, attention_mask=ids != pad).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loss_value = loss.item()
        on_step(step + 1, loss_value)
    return loss_value


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
    tokenizer.save_pretrained(folder)


def _collate(examples: Sequence[Example], pad: int) -> tuple[Any, Any]:
    """(B, T) ids, padded on the right, and (B, T) labels with -100 where nothing is learned."""
    width = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), width), pad)
    labels = torch.full((len(examples), width), -100)
    for row, example in enumerate(examples):
        row_ids = torch.tensor(example.ids)
        ids[row, : len(row_ids)] = row_ids
        labels[row, : len(row_ids)] = torch.where(torch.tensor(example.learned), row_ids, -100)
    return ids, labels
