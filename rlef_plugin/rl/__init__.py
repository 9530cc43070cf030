"""The learner's arithmetic, as pure torch functions that know nothing of the host. In the order the data flows:

    turns.py       action mask (B, A) -> where the turns are; sums, spreads and reads per turn
    kl.py          log ratio (B, A) -> one KL per turn (B, N)
    advantages.py  rewards and values (B, N) -> returns, advantages, whitening over the rollout batch

Axes as in the host: B sequences, T tokens, A = T - 1, index j of a (B, A) tensor speaks of token j + 1; a value at
index j was read at token j. N is the turn limit. Every floating result is float32, whatever came in.
docs/method.md walks one episode through these files; tests/reference/ says the same in plain loops.
"""
