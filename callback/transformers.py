"""Adam Debug for the Trainer of transformers: a callback."""

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
    # By name, to keep type checkers out of the package, which would take them minutes.
    _transformers: Any = importlib.import_module("transformers")
    _Trainer = _transformers.Trainer
    _TrainerCallback: Any = _transformers.TrainerCallback
    _TensorBoardCallback = _transformers.integrations.TensorBoardCallback
except ImportError as error:
    raise ModuleNotFoundError(
        f"the Trainer of transformers cannot be imported ({error}): "
        "pip install 'tb-adam-plugin[transformers]'"
    ) from error


# Argument classes of trl trainers whose loss does not measure progress.
_SURROGATE = {"GRPOConfig", "PPOConfig", "RLOOConfig"}


class AdamDebugTrainerCallback(_TrainerCallback):
    """Records what the optimizer of a Trainer does, for the Adam Debug tab of TensorBoard.

    Pass it to the Trainer::

        trainer = Trainer(model, arguments, callbacks=[AdamDebugTrainerCallback()])

    The run goes into the folder of the Trainer's TensorBoard scalars. If there is none
    (``report_to="none"``), it goes into ``logging_dir`` if this version of transformers has that
    argument, else into the folder named by ``TENSORBOARD_LOGGING_DIR``, else into ``output_dir``.

    The loss of every step is recorded automatically: the values ``Trainer.training_step`` returned,
    summed over accumulated batches like the loss that the Trainer logs, but not averaged over
    ``logging_steps``. Under trl's GRPO, PPO and RLOO it is recorded as ``surrogate_loss``. The
    gradient norm before the Trainer clips is recorded as well. Both stay on their device until a
    record is written.
    """

    def __init__(self, **options: Any) -> None:
        """Keep the options until training starts.

        Args:
            **options: The options of :class:`AdamDebugCallback`. ``log_dir`` defaults to the folder
                described above, ``total_steps`` to the Trainer's ``max_steps``.

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
        """The callback of the optimizer, while training runs."""
        return self._debug

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the callback of a previous training that an exception ended."""
        self._close()

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any, optimizer: Any, **kwargs: Any
    ) -> None:
        """Before the first step, attach to the optimizer.

        By now a checkpoint is restored, and every callback has opened its files.
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
        # The wrapped model shows how the parameters are distributed over processes.
        wrapped = model if trainer is None else trainer.model_wrapped
        debug = AdamDebugCallback(wrapped, optimizer, **options)
        # Not every optimizer's state has a step count, and the checkpoint may lack the state.
        if options.get("initial_step") is None and state.global_step and debug.step == 0:
            debug.step = state.global_step
        self._debug = debug
        if trainer is not None:
            self._listen(trainer, "training_step", self._add_loss)
            if args.max_grad_norm and args.max_grad_norm > 0:
                self._listen(trainer.accelerator, "clip_grad_norm_", self._record_norm)

    def _listen(self, owner: Any, method: str, hear: Callable[[Tensor], None]) -> None:
        """Intercept the number that a method returns, because callbacks do not receive it."""
        own = vars(owner).get(method)
        answer_to = getattr(owner, method)

        def listened(*args: Any, **kwargs: Any) -> Any:
            answer = answer_to(*args, **kwargs)
            # A sharded value cannot be read without the other processes.
            if isinstance(answer, Tensor) and answer.numel() == 1 and not _is_sharded(answer):
                hear(answer.detach())
            return answer

        def stop() -> None:
            if vars(owner).get(method) is not listened:
                return  # something else wraps it, too, and calls this one
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
    """Find the Trainer among the callers: it passes callbacks everything except itself."""
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
