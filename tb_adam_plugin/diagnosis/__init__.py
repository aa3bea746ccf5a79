"""Findings from recorded statistics. NumPy only; no torch, no TensorBoard.

:mod:`.engine.recorded_run` is the input of the rules and :mod:`.engine.rule` defines a rule. Each
of :mod:`.rules` asks one question, with its own thresholds; :mod:`.rules.registry` lists them in
order of precedence. :mod:`.diagnose` applies them, and :mod:`.compass` reads the learning rate.
"""
