"""Real training: published recipes with the callback's default settings, and their findings.

From the bottom up: :mod:`.recipe` defines how anything is trained and what can be planted in it,
:mod:`.families` what is trained, :mod:`.recordings` which runs there are and where they are kept,
:mod:`.verdict` compares the findings with the harm that was done.
"""
