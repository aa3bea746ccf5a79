"""TensorBoard's entry point. TensorBoard must survive any failure here.

TensorBoard imports this module and calls :meth:`AdamDebugLoader.define_flags` and
:meth:`AdamDebugLoader.fix_flags` without protection, even for ``tensorboard --version``: an
exception in any of them would end the whole process. So this file imports next to nothing, and the
plugin itself is imported late.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tensorboard.plugins import base_plugin

if TYPE_CHECKING:
    from tb_adam_plugin.serving.plugin import AdamDebugPlugin

# TensorBoard keeps 100 (or, with its Python loader, 10) records of a tag in memory by default.
# Files on this machine are read directly: for these it needs only one, to know the tag.
_KEPT_OF_LOCAL_FILES = 1
_KEPT_RECORDS = 5000

_logger = logging.getLogger(__name__)


class AdamDebugLoader(base_plugin.TBLoader):
    """Loads the plugin, or hides its tab if that fails."""

    def define_flags(self, parser: Any) -> None:
        """Add ``--adam_debug_fast_crc``."""
        try:
            from tb_adam_plugin.serving.fast_crc import define_flag

            define_flag(parser)
        except Exception as error:
            _logger.warning("Adam Debug: --adam_debug_fast_crc is not available: %r", error)

    def fix_flags(self, flags: Any) -> None:
        """Ask TensorBoard to keep our records. A user's ``--samples_per_plugin`` wins.

        If the user asks for faster checksums, install these in TensorBoard, too.
        """
        try:
            from tb_adam_plugin.event_files.log_roots import LogRoots

            kept = _KEPT_RECORDS if LogRoots.of_flags(flags) is None else _KEPT_OF_LOCAL_FILES
            flags.samples_per_plugin.setdefault("adam_debug", kept)
        except Exception as error:
            _logger.warning("Adam Debug: TensorBoard will show a sample of the steps: %r", error)
        try:
            if getattr(flags, "adam_debug_fast_crc", False):
                from tb_adam_plugin.serving.fast_crc import replace_crc

                replace_crc()
        except Exception as error:
            _logger.warning("Adam Debug: --adam_debug_fast_crc has no effect: %s", error)

    def load(self, context: Any) -> AdamDebugPlugin | None:
        """Return the plugin, or None if it cannot be loaded.

        Args:
            context: TensorBoard's ``TBContext``.
        """
        try:
            from tb_adam_plugin.serving.plugin import AdamDebugPlugin

            return AdamDebugPlugin(context)
        except Exception as error:
            _logger.error("Adam Debug: no tab, because the plugin failed to load: %r", error)
            return None
