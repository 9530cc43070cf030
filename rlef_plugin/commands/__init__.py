"""The commands of `rlef`, a module a topic; `cli.py` puts them together.

A command parses its line, imports what it needs when it runs (`rlef --help` costs no torch and no Ray) and calls one
function that does the work and knows no command line.
"""
