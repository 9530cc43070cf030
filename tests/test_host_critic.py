"""The turn-level critic and the KL as the host's own classes compute them (in_host.py)."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
from host_files import CRITIC
from in_host import advantages_of, host, in_host, learner_batch, same, tiny_critic, unwrapped

from rlef_plugin.config import VARIABLE, RlefConfig

pytestmark = pytest.mark.host


@in_host
def test_with_a_value_a_token_the_critic_computes_as_the_hosts() -> None:
    from rlef_plugin.openrlhf_ext import critic, install

    h = host()
    before = os.environ[VARIABLE]
    try:
        for settings in ({"value": "token"}, {"advantage_estimator": "reinforce"}):
            os.environ[VARIABLE] = RlefConfig(**settings).to_json()
            install()
            assert h.ppo_critic.CriticModelActor is critic.CriticActor, f"the critic of {settings}"
    finally:
        os.environ[VARIABLE] = before
        install()
    overridden = {name for name in vars(critic.Critic) if not name.startswith("_")}
    same("what the critic overrides", overridden, {"fit", "save_checkpoint"})


@in_host
def test_the_critic_reads_the_value_of_mask_index_j_at_token_j() -> None:
    """So at the first index of a run of ones it is read at the last token of the prompt: V(c_t)."""
    import torch

    critic = tiny_critic()
    sequences = torch.randint(0, 400, (2, 9), generator=torch.Generator().manual_seed(1))
    attention = torch.ones_like(sequences)
    attention[1, 7:] = 0  # padded on the right, as our batches are
    mask = torch.tensor([[0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 1, 0, 1, 0, 0, 0]])
    with torch.no_grad():
        values = critic(sequences, mask, attention)
        hidden = critic(sequences, None, attention, return_output=True)["last_hidden_state"]  # (B, T, 16)
        expected = critic.score(hidden).squeeze(-1)[:, :-1] * mask
    assert values.shape == mask.shape, f"openrlhf/models/model.py: values are {tuple(values.shape)}"
    assert torch.allclose(values, expected, atol=1e-6), f"openrlhf/models/model.py: {values} and {expected}"
    assert values[mask.bool()].abs().min() > 0, "openrlhf/models/model.py: the value head gives zeros"
    # A later token changes nothing: V(c_t) knows the prompt and not the response.
    changed = sequences.clone()
    changed[0, 3:] = 5
    with torch.no_grad():
        assert torch.allclose(critic(changed, mask, attention)[0, :3], values[0, :3], atol=1e-6)


@in_host
def test_the_turn_critic_shows_the_host_turn_starts_only() -> None:
    import torch

    from rlef_plugin.openrlhf_ext.critic import TurnCritic

    h = host()
    actor = TurnCritic.__new__(TurnCritic)
    actor.critic, actor.strategy = tiny_critic(), critic_strategy()
    actor.trainer = SimpleNamespace(replay_buffer=h.replay_buffer.NaiveReplayBuffer(sample_batch_size=2))
    made = advantages_of(learner_batch())
    mask, info = made.action_mask, made.info
    starts = torch.zeros_like(mask)
    starts[0, mask[0].tolist().index(1)] = 1
    for j in range(mask.shape[1]):
        starts[1, j] = int(mask[1, j] == 1 and (j == 0 or mask[1, j - 1] == 0))
    values = actor.forward(sequences=made.sequences, action_mask=mask, attention_mask=made.attention_mask)
    same(f"openrlhf/{CRITIC} forward", (values != 0).tolist(), starts.bool().tolist())
    actor.append(made)
    kept = actor.trainer.replay_buffer
    same(f"openrlhf/{CRITIC} append", [int(item.action_mask.sum()) for item in (kept[0], kept[1])], [1, 3])
    batch = kept.collate_fn([kept[0], kept[1]])
    width = batch.action_mask.shape[1]
    same("the loss's mask", batch.action_mask.tolist(), starts[:, :width].bool().tolist())
    same(
        "a turn start in its last column", (bool(batch.action_mask[1, -1]), starts[:, width:].sum().item()), (True, 0)
    )
    assert made.action_mask is mask and made.info is info, "the policy's experience was changed"


def critic_strategy(aux_loss_coef: float = 0.0) -> Any:
    """What the host's critic and its trainer ask of it, without DeepSpeed: gradients stay in the parameters."""
    args = SimpleNamespace(
        actor=SimpleNamespace(aux_loss_coef=aux_loss_coef),
        train=SimpleNamespace(dynamic_batch_enable=False, max_epochs=1),
        ds=SimpleNamespace(packing_samples=False, tensor_parallel_size=1),
    )
    return SimpleNamespace(
        args=args,
        ring_attn_group=None,
        accumulated_gradient=1,
        is_rank_0=lambda: False,
        all_reduce=lambda status: status,
        backward=lambda loss, model, optimizer: loss.backward(),
        optimizer_step=lambda *arguments, **names: None,
        get_grad_norm=lambda model: 0.0,
    )


def critic_actor(cls: Any, aux_loss_coef: float = 0.0) -> Any:
    """A critic actor of this class with the host's own trainer, in float64."""
    h = host()
    actor = cls.__new__(cls)
    actor.critic, actor.strategy = tiny_critic().double(), critic_strategy(aux_loss_coef)
    schedule = SimpleNamespace(get_last_lr=lambda: [0.0])
    actor.trainer = h.ppo_critic.CriticPPOTrainer(
        actor.strategy, actor.critic, None, schedule, micro_train_batch_size=2, dataloader_pin_memory=False
    )
    return actor


def stock_critic() -> Any:
    """The host's critic, shown turn starts but every token: what `TurnCritic` did before it cut its input."""
    from dataclasses import replace

    from rlef_plugin.rl.turns import turn_starts

    class Whole(unwrapped(host().stock.Critic)):  # type: ignore[misc]
        def forward(self, sequences: Any, action_mask: Any, attention_mask: Any) -> Any:
            return super().forward(sequences, turn_starts(action_mask), attention_mask)

        def append(self, experience: Any) -> None:
            super().append(replace(experience, action_mask=turn_starts(experience.action_mask)))

    return Whole


def three_episodes() -> Any:
    """Of 1, 2 and 3 turns, the longest last response in the shortest episode, so that each row is cut elsewhere."""
    import torch

    generator = torch.Generator().manual_seed(3)
    lengths, ranges = (31, 26, 29), ([(5, 31)], [(4, 9), (12, 26)], [(6, 10), (13, 17), (20, 29)])
    width = max(lengths)
    attention, mask = torch.zeros(3, width, dtype=torch.long), torch.zeros(3, width, dtype=torch.long)
    for row, (length, turns) in enumerate(zip(lengths, ranges, strict=True)):
        attention[row, :length] = 1
        for begin, end in turns:
            mask[row, begin:end] = 1
    mask = mask[:, 1:]
    noise = {key: torch.randn(mask.shape, generator=generator).double() * mask for key in ("values", "returns")}
    sequences = torch.randint(0, 400, (3, width), generator=generator)
    total = torch.tensor(lengths, dtype=torch.float)
    return host().experience.Experience(
        sequences=sequences, attention_mask=attention, action_mask=mask, total_length=total, **noise
    )


@in_host
def test_the_critics_cut_changes_no_value_and_no_gradient() -> None:
    import torch

    from rlef_plugin.openrlhf_ext.critic import TurnCritic

    seen: list[int] = []
    whole, cut = critic_actor(stock_critic()), critic_actor(TurnCritic)
    cut.critic.load_state_dict(whole.critic.state_dict())  # the value head is made anew for each
    cut.critic.model.register_forward_pre_hook(
        lambda module, arguments, names: seen.append(int(names["attention_mask"].sum())), with_kwargs=True
    )
    batch = three_episodes()
    grids = {
        "sequences": batch.sequences,
        "action_mask": batch.action_mask,
        "attention_mask": batch.attention_mask,
    }
    expected, values = whole.forward(**grids), cut.forward(**grids)
    same("shape of the values (B, A)", tuple(values.shape), tuple(batch.action_mask.shape))
    same("values that are not 0", int((values != 0).sum()), 6)
    assert (values - expected).abs().max() < 1e-12, f"values differ by {(values - expected).abs().max()}"
    same("tokens the critic reads: to each last turn start, and one more", seen, [6 + 13 + 21])
    for actor in (whole, cut):
        actor.append(three_episodes())
        items = actor.trainer.replay_buffer
        experience = items.collate_fn([items[row] for row in range(3)])
        actor.trainer.training_step(experience, 0)
    same("tokens it is trained on", seen[1:], [40])
    gradients = dict(whole.critic.named_parameters())
    for name, parameter in cut.critic.named_parameters():
        difference = (parameter.grad - gradients[name].grad).abs().max()
        assert difference < 1e-10, f"the gradient of {name} differs by {difference}"
    assert sum(float(p.grad.abs().sum()) for p in cut.critic.parameters()) > 1e-3, "there is no gradient to compare"
    assert torch.equal(batch.sequences, three_episodes().sequences), "the policy's experience was changed"


@in_host
def test_with_a_balancing_loss_the_critic_reads_every_token() -> None:
    from rlef_plugin.openrlhf_ext.critic import TurnCritic

    actor = critic_actor(TurnCritic, aux_loss_coef=0.01)
    actor.append(three_episodes())
    items = actor.trainer.replay_buffer
    same("lengths", [len(items[row].sequences) for row in range(3)], [31, 26, 29])


@in_host
def test_kl_without_the_hosts_clamp() -> None:
    import torch

    from rlef_plugin.openrlhf_ext.experience import token_log_ratio

    policy, reference = torch.tensor([[-1.0, -30.0, -2.0]]), torch.tensor([[-3.0, -1.0, -2.5]])
    stock = host().stock.compute_approx_kl(policy, reference, kl_estimator="k1")
    same("openrlhf/models/utils.py k1", stock.tolist(), [[2.0, -10.0, 0.5]])
    same("ours", token_log_ratio(policy, reference, kl_estimator="k1").tolist(), [[2.0, -29.0, 0.5]])
