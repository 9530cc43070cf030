"""The paper's formulas as plain loops over Python floats (float64), for the tensor code to be held against.

    episode.py     one episode: turns, KL, rewards, returns, advantages
    whitening.py   all episodes of a rollout batch
    losses.py      the clipped policy loss and the clipped value loss
    stock_host.py  not a reference: the host's own numerics, loaded from its files without its heavy imports

Nothing here imports rlef_plugin, and no step is shared with it: sums are written out where the tensor code recurses.
"""
