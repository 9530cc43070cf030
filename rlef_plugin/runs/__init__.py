"""What a training run says about itself, in the order the data flows. Nothing here imports the host or torch.

    record.py     an episode as plain values, made in the rollout actor
    episodes.py   a step's records -> solve rates, verdicts, repairs, edits, lengths
    timeline.py   when it was generated, judged and trained -> where the seconds of a step went
    files.py      what is kept in the run's folder, and reading it while it is being written
    charts.py     sparklines, line charts and bars of characters
    watch.py      `rlef watch`: all of it on one screen, live
    plot.py       the same as a picture
    show.py       `rlef show`: episodes as dialogs

docs/metrics.md defines every number by name.
"""
