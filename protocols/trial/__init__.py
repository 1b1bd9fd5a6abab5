"""How well a defense does: attackers in a federation, and the defense in its loop.

    attacks      every attack by a name, with a trigger and classes that the data set has
    statistics   what the server of a screened round sees, bit for bit, without the cryptography
    methods      defenses behind one interface: ours, none, and robust rules from the literature
    trial        one run: data, partition, attack, defense, seed -> what happened in each round
    results      runs in a file of JSON lines, so that a long grid can be resumed
    grid         named grids of runs; one is held out
    freeze       a hash over everything that decides the result of a held-out run
    tables       detection, backdoors, accuracy and the targets, as Markdown and for the terminal

A defense acts on the model from the first round on, so an attack that it misses stays in the model
and in the history that it is judged by.
"""
