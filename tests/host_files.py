"""Files of OpenRLHF that the tests of its contract name, from its package's folder."""

CLI = "cli/train_ppo_ray.py"
TRAINER, ASYNC = "trainer/ppo_trainer.py", "trainer/ppo_trainer_async.py"
ACTOR, CRITIC = "trainer/ray/ppo_actor.py", "trainer/ray/ppo_critic.py"
ENGINE, WORKER = "trainer/ray/vllm_engine.py", "trainer/ray/vllm_worker_wrap.py"
MAKER, SAMPLES = "trainer/ppo_utils/experience_maker.py", "trainer/ppo_utils/samples_generator.py"
BUFFER, DEEPSPEED = "trainer/ppo_utils/replay_buffer.py", "utils/deepspeed/deepspeed.py"
DISTRIBUTED, RING = "utils/distributed_util.py", "models/ring_attn_utils.py"
