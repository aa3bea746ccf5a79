"""Real training: published recipes at the callback's default settings, and what is found in them.

From the bottom up: :mod:`.recipe` is how anything is trained and what can be planted in it,
:mod:`.families` what is trained, :mod:`.recordings` which runs there are and where they are kept,
:mod:`.verdict` what the rules say of them beside the harm that was done.
"""
