"""Adam Debug in the Trainer of transformers: one more callback."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from torch import Tensor

from tb_adam_plugin import schema

from .adam_debug_callback import AdamDebugCallback
from .steps.refusals import as_warnings

try:
    # By name, so that type checkers leave the package alone, which would take them minutes.
    _transformers: Any = importlib.import_module("transformers")
    _Trainer = _transformers.Trainer
    _TrainerCallback: Any = _transformers.TrainerCallback
    _TensorBoardCallback = _transformers.integrations.TensorBoardCallback
except ImportError as error:
    raise ModuleNotFoundError(
        f"the Trainer of transformers cannot be imported ({error}): "
        "pip install 'tb-adam-plugin[transformers]'"
    ) from error


# Trainers of the trl package, by their arguments: what they minimise is no measure of progress.
_SURROGATE = {"GRPOConfig", "PPOConfig", "RLOOConfig"}


class AdamDebugTrainerCallback(_TrainerCallback):
    """Records what the optimizer of a Trainer does, for the Adam Debug tab of TensorBoard.

    It is a callback of the Trainer::

        trainer = Trainer(model, arguments, callbacks=[AdamDebugTrainerCallback()])

    The run goes into the folder of the Trainer's TensorBoard scalars. Without such
    (``report_to="none"``) it goes into ``logging_dir``, where the version of transformers has that
    argument, else into the folder named by ``TENSORBOARD_LOGGING_DIR``, else into ``output_dir``.

    The loss of every step is recorded by itself: what ``Trainer.training_step`` returned, added up
    over accumulated batches as the Trainer does for the loss it logs, but without its average over
    ``logging_steps``; under trl's GRPO, PPO and RLOO as ``surrogate_loss``. So is the norm of the
    gradients before the Trainer clips them. Both stay on their device until a record is written.
    """

    def __init__(self, **options: Any) -> None:
        """Keep the options until training starts.

        Args:
            **options: Those of :class:`AdamDebugCallback`. ``log_dir`` is by default as said above,
                ``total_steps`` the Trainer's ``max_steps``.

        Raises:
            TypeError: If :class:`AdamDebugCallback` has no such option.
        """
        super().__init__()
        inspect.signature(AdamDebugCallback).bind(None, None, **options)
        self._options = options
        self._debug: AdamDebugCallback | None = None
        self._is_refused = False  # in this training, after a warning
        self._loss: Tensor | None = None
        self._loss_name = schema.LOSS
        self._stop_listening: list[Callable[[], None]] = []

    @property
    def debug(self) -> AdamDebugCallback | None:
        """The callback of the optimizer, while training goes on."""
        return self._debug

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End a training that an exception has ended."""
        self._close()

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any, optimizer: Any, **kwargs: Any
    ) -> None:
        """Before the first step, attach to the optimizer.

        By now a checkpoint is restored, and every callback has opened the files it writes.
        """
        self._loss = None
        if self._debug is None and not self._is_refused:
            self._is_refused = True
            with as_warnings(raises=self._options.get("on_error") == "raise"):
                self._attach(args, state, model, optimizer)
                self._is_refused = False

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the event file."""
        self._close()

    def _attach(self, args: Any, state: Any, model: Any, optimizer: Any) -> None:
        trainer = _calling_trainer()
        settings = {kind.__name__ for kind in type(args).__mro__}
        self._loss_name = schema.LOSS if settings.isdisjoint(_SURROGATE) else schema.SURROGATE_LOSS
        options = dict(self._options)
        if options.get("total_steps") is None:
            options["total_steps"] = state.max_steps if state.max_steps > 0 else None
        if options.get("log_dir") is None and options.get("writer") is None:
            options["log_dir"] = _run_folder(args, state, trainer)
        # The wrapped model tells how the parameters are spread over processes.
        wrapped = model if trainer is None else trainer.model_wrapped
        debug = AdamDebugCallback(wrapped, optimizer, **options)
        # Not every optimizer's state counts its steps, and it may not be in the checkpoint.
        if options.get("initial_step") is None and state.global_step and debug.step == 0:
            debug.step = state.global_step
        self._debug = debug
        if trainer is not None:
            self._listen(trainer, "training_step", self._add_loss)
            if args.max_grad_norm and args.max_grad_norm > 0:
                self._listen(trainer.accelerator, "clip_grad_norm_", self._record_norm)

    def _listen(self, owner: Any, method: str, hear: Callable[[Tensor], None]) -> None:
        """Look at the number that a method returns, of which callbacks are not told."""
        own = vars(owner).get(method)
        answer_to = getattr(owner, method)

        def listened(*args: Any, **kwargs: Any) -> Any:
            answer = answer_to(*args, **kwargs)
            # What is sharded cannot be read without the other processes.
            if isinstance(answer, Tensor) and answer.numel() == 1 and not _is_sharded(answer):
                hear(answer.detach())
            return answer

        def stop() -> None:
            if vars(owner).get(method) is not listened:
                return  # someone else listens, too, and calls this one
            if own is None:
                delattr(owner, method)
            else:
                setattr(owner, method, own)

        setattr(owner, method, listened)
        self._stop_listening.append(stop)

    def _add_loss(self, loss: Tensor) -> None:
        self._loss = loss if self._loss is None else self._loss + loss
        if self._debug is not None:
            self._debug.record(**{self._loss_name: self._loss})

    def _record_norm(self, norm: Tensor) -> None:
        if self._debug is not None:
            self._debug.record(gradient_norm_before_clip=norm)

    def _close(self) -> None:
        for stop in self._stop_listening:
            stop()
        self._stop_listening = []
        if self._debug is not None:
            self._debug.close()
            self._debug = None
        self._is_refused = False


def _calling_trainer() -> Any:
    """Find the Trainer by who calls: callbacks are given everything but that."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, _Trainer):
            return caller
        frame = frame.f_back
    return None


def _run_folder(args: Any, state: Any, trainer: Any) -> str:
    callbacks = [] if trainer is None else trainer.callback_handler.callbacks
    for callback in callbacks:
        if isinstance(callback, _TensorBoardCallback) and callback.tb_writer is not None:
            writer = callback.tb_writer
            return str(getattr(writer, "log_dir", None) or writer.logdir)
    folder = (
        getattr(args, "logging_dir", None)
        or os.environ.get("TENSORBOARD_LOGGING_DIR")
        or args.output_dir
    )
    if state.is_hyper_param_search and state.trial_name is not None:
        folder = os.path.join(folder, state.trial_name)
    return os.path.expanduser(str(folder))


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local")
