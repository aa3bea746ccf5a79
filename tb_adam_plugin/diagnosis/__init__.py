"""Findings from recorded statistics. NumPy only; no torch, no TensorBoard.

:mod:`.recorded_run` is what rules read, :mod:`.rule` what a rule is, :mod:`.registry` lists them in
order of precedence, :mod:`.thresholds` holds every number, and :mod:`.diagnose` applies them.
"""
