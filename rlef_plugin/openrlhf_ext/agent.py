"""The file the host loads by path in each rollout actor (`--train.agent_func_path`)."""

from rlef_plugin.openrlhf_ext.executor import RlefAgentExecutor as AgentExecutor

__all__ = ["AgentExecutor"]
