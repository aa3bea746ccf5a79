"""Adam Debug: the optimizer debugger for TensorBoard.

Inside TensorBoard (none of these imports torch):
    schema      the wire format both sides share: tags, layouts, histogram bins, packing
    loader      TensorBoard's entry point; imports the plugin late and never fails
    plugin      routes, query parsing, errors
    store       event data into decoded records
    views       records into answers for the tab
    assets      the files of the tab
Inside training:
    callback    AdamDebugCallback, which records an optimizer into an event file

This module imports nothing, because both sides execute it.
"""

__version__ = "0.1.0"
