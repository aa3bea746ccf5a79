"""Findings from recorded statistics. NumPy only; no torch, no TensorBoard.

:mod:`.engine.recorded_run` is what rules read and :mod:`.engine.rule` what a rule is. Each of
:mod:`.rules` asks one question, with its own thresholds; :mod:`.rules.registry` lists them in order
of precedence. :mod:`.diagnose` applies them, and :mod:`.compass` reads the learning rate.
"""
