"""Adam Debug: the optimizer debugger for TensorBoard.

Inside TensorBoard (none of these imports torch):
    schema      the wire format both sides share: tags, layouts, histogram bins, packing
    loader      TensorBoard's entry point; imports the plugin late and never fails
    serving     routes, query parsing, answers, and the tab's files
    reading     event data decoded into records, and records into answers
    diagnosis   the rules, and the findings they report
    run_data    runs for notebooks and scripts
Inside training:
    callback    AdamDebugCallback, which records an optimizer into an event file

This module imports nothing, because both sides execute it.
"""

__version__ = "0.1.0"
