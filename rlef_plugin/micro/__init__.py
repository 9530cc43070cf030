"""The micro-world: small, real programming tasks on which a model is seen, on a CPU, to learn to use feedback.

    tasks.py    four kinds of task, each with one thing left open that only feedback tells
    world.py    a seed -> problems as rows in CodeContests' schema, in three disjoint splits
    known.py    what the judge would say about the world's own programs, for the warm-up's dialogs
    prepare.py  problem store, tokenizer, tiny Llama, warmed up until it reads feedback a little
    learn.py    `rlef learn`: train with several seeds, evaluate with real, random and no feedback
    results.py  what came out, with intervals, and its plots

Everything between is the plugin's ordinary path: recipes/micro.yaml, `rlef train`, `rlef eval`. Nothing in the plugin
knows of this world. Not promised: that what holds here holds for a large model; see docs/micro.md.
"""
