"""Synthetic findings, in the form of the server's answers."""

from __future__ import annotations

from tab_runs import ATTENTION, NOT_UPDATED

FINDINGS = [
    {
        "id": "b",
        "run": "spiked/adam_debug",
        "rule": "dead",
        "severity": "warning",
        "title": "No gradient arrives",
        "text": "The gradient is zero at every step.",
        "advice": "",
        "parameters": [NOT_UPDATED],
        "from": 1,
        "to": 200,
        "at": None,
    },
    {
        "id": "a",
        "run": "spiked/adam_debug",
        "rule": "spike",
        "severity": "error",
        "title": "The gradient spiked",
        "text": "It rose thirtyfold in one step.",
        "advice": "Clip the gradient norm to 1.",
        "parameters": [ATTENTION],
        "from": 150,
        "to": 155,
        "at": 150,
    },
]
