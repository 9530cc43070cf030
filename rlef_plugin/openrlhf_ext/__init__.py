"""Everything that touches the host's classes; nothing outside this folder and the launcher imports openrlhf.

host_cli.py    the host's flags and checks, read from its own file
executor.py    one episode through vLLM                      <- agent.py, which the host loads by path
experience.py  turns, KL, returns and advantages of a rollout batch
critic.py      the turn-level critic
policy.py      the policy: updates that can be repeated, LoRA
samples.py     the host's sample generator, with the record of each episode
trainer.py     the host's trainers with the above; rollouts.py what they report, group_clock.py how long models take
remote.py      subclassing Ray actor classes
cpu_host.py    the host without a GPU
engines.py     vLLM engines for evaluation
"""

from pathlib import Path

AGENT_FILE = Path(__file__).with_name("agent.py")


def install() -> None:
    """Put our classes where the host's CLI looks its own up; for the driver process, before the CLI runs."""
    from openrlhf.trainer import ppo_trainer, ppo_trainer_async
    from openrlhf.trainer.ray import ppo_actor, ppo_critic

    from rlef_plugin.config import RlefConfig
    from rlef_plugin.openrlhf_ext import critic, policy, trainer

    config = RlefConfig.from_environment()
    per_turn = config.advantage_estimator == "turn" and config.value == "turn"
    ppo_critic.CriticModelActor = critic.TurnCriticActor if per_turn else critic.CriticActor
    ppo_actor.PolicyModelActor = policy.PolicyActor
    ppo_trainer.PPOTrainer = trainer.TrainerActor
    ppo_trainer_async.PPOTrainerAsync = trainer.AsyncTrainerActor
