"""The laboratory: training runs with a planted fault, healthy ones, and their findings.

In the order of the data: :mod:`.data` and :mod:`.models` make the :mod:`.tasks`, whose learning
rates :mod:`.scan` searches for; :mod:`.settings` defines how a run trains, :mod:`.faults` and
:mod:`.controls` what is planted or varied, :mod:`.cases` which runs there are; :mod:`.training`
trains one through the real callback, :mod:`.recordings` keeps them; :mod:`.diagnosed_runs` reads
the findings back from the event files, :mod:`.confusion` counts them, :mod:`.replay` follows the
advice, and :mod:`.report` writes the results.
"""
