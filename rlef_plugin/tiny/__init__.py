"""A tiny tokenizer and Llama, built and warmed up on the spot, for trying the plugin out where no weights can be had.

    model.py    a BPE tokenizer with a chat template, a Llama of about a million parameters, a language-model warm-up
    dialogs.py  dialogs to warm up on: stored solutions, right and wrong, with the feedback the judge really gives
    demo.py     `rlef demo`: store, model, training run; summary.py what it shows at the end

Not promised: that such a model can program. It has seen the solutions of the problems it is trained on; what the demo
shows is the loop, not a result.
"""
