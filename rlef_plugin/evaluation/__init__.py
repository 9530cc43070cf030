"""Evaluation: rollouts of a model on problems, and everything that is computed from them afterwards.

    settings.py   what is evaluated and how; kept beside the rollouts, so that a resume cannot mix two evaluations
    play.py       plays what is missing, a bounded number at once
      ├─ openrlhf_ext/engines.py   through vLLM engines under Ray: the executor of training
      └─ server.py                 through any OpenAI-compatible server
    rollouts.py   one row a rollout, on disk as soon as it ends
    nk.py         n@k, pass@k and their intervals, from counts alone
    score.py      the table of one evaluation: presets, single-turn baselines, budget curves

Only playing needs a model; scores, analyses and reports read the rollouts.
"""
