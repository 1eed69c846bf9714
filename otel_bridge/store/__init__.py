"""The local store: one SQLite file of what came (spans, logs, points) and what it became (observations, scores).

It is derived: the journal is what keeps data safe, so a store that can not be read is moved aside and begun anew.
"""
