"""Adam Debug for PyTorch Lightning: a callback for its Trainer.

``lightning.pytorch`` and ``pytorch_lightning`` are one library under two names. The callback works
with a Trainer from either.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .adam_debug_callback import AdamDebugCallback
from .attach.naming import named_parameters
from .read.norms import GradientNorms
from .steps.refusals import as_warnings

_STEPS_IN_CHECKPOINT = "adam_debug_steps"


def _installed() -> list[Any]:
    packages, reason = [], None
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            packages.append(importlib.import_module(name))
        except ImportError as error:
            reason = error
    if not packages:
        raise ModuleNotFoundError(
            "neither lightning nor pytorch_lightning can be imported: "
            "pip install 'tb-adam-plugin[lightning]'"
        ) from reason
    return packages


_PACKAGES = _installed()
_TENSORBOARD_LOGGERS = tuple(package.loggers.TensorBoardLogger for package in _PACKAGES)
_MISCONFIGURATIONS = tuple(
    package.utilities.exceptions.MisconfigurationException for package in _PACKAGES
)
_Callback: Any = type("_Callback", tuple(package.Callback for package in _PACKAGES), {})


class AdamDebugLightningCallback(_Callback):
    """Records what the optimizers of a LightningModule do, for the Adam Debug tab of TensorBoard.

    Pass it to the Trainer::

        trainer = Trainer(callbacks=[AdamDebugLightningCallback()])

    The run goes into the folder of the Trainer's TensorBoardLogger, else that of its first logger,
    else ``default_root_dir``. With several optimizers, each gets its own run in that folder, named
    after the part of the model that it trains if these parts differ (``generator``), else after its
    index and class (``optimizer1_AdamW``).

    The loss of every step is recorded automatically. Under automatic optimization it is the mean of
    the values ``training_step`` returned since the previous step. Under manual optimization it is
    the sum of the losses given to ``manual_backward`` since any optimizer's last step. With
    ``gradient_clip_val``, the gradient norm before clipping is also recorded, and with a gradient
    scaler the loss scale.

    It does nothing during validation, testing and prediction, or with ``fast_dev_run``.
    """

    def __init__(self, **options: Any) -> None:
        """Keep the options until training starts.

        Args:
            **options: The options of :class:`AdamDebugCallback`. ``log_dir`` defaults to the folder
                described above, ``total_steps`` to the Trainer's estimate under automatic
                optimization.

        Raises:
            TypeError: If :class:`AdamDebugCallback` has no such option.
        """
        super().__init__()
        inspect.signature(AdamDebugCallback).bind(None, None, **options)
        self._options = options
        self._debugs: list[AdamDebugCallback] = []
        self._steps: list[int] = []  # of each optimizer, when last read
        self._has_loaded = False  # whether a checkpoint was loaded for the next training
        self._loss: Tensor | None = None
        self._backward_passes = 0
        self._position: tuple[int, ...] = ()

    @property
    def debugs(self) -> Sequence[AdamDebugCallback]:
        """One callback for each optimizer, while training runs."""
        return tuple(self._debugs)

    # --- start and end ---

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach to the optimizers; a checkpoint has restored their state by now."""
        self._close()
        # For a module without an optimizer, Lightning makes one up of this class.
        optimizers = [o for o in trainer.optimizers if type(o).__name__ != "_MockOptimizer"]
        if trainer.fast_dev_run or not optimizers:
            return
        alone = len(optimizers) == 1
        options = dict(self._options)
        if options.get("total_steps") is None:
            options["total_steps"] = _total_steps(trainer, pl_module)
        if options.get("writer") is None:
            folder = options.pop("log_dir", None)
            folder = _run_folder(trainer) if folder is None else folder
            folders = _folders(os.fspath(folder), pl_module, optimizers)
        elif alone:
            folders = [None]
        else:
            raise ValueError(
                f"writer= takes one optimizer, but there are {len(optimizers)}: give log_dir= "
                "instead, where each of them gets its own folder"
            )
        # The strategy's model shows how the parameters are distributed over processes.
        models = [trainer.strategy.model] if alone else _models(pl_module, optimizers)
        with as_warnings(raises=options.get("on_error") == "raise"):
            for model, optimizer, log_dir in zip(models, optimizers, folders, strict=True):
                where = {} if log_dir is None else {"log_dir": log_dir}
                self._debugs.append(AdamDebugCallback(model, optimizer, **where, **options))
        if len(self._debugs) == len(optimizers):
            self._go_on(trainer)
        else:
            self._close()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the event files."""
        self._close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the event files."""
        self._close()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Close the event files."""
        self._close()

    def _close(self) -> None:
        self._look_at_steps()
        for debug in self._debugs:
            debug.close()
        self._debugs = []
        self._loss = None

    # --- steps of a resumed run ---

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Save the step counts, because not every optimizer's state has one."""
        self._look_at_steps()
        checkpoint[_STEPS_IN_CHECKPOINT] = list(self._steps)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Resume from the saved step counts."""
        self._steps = list(checkpoint.get(_STEPS_IN_CHECKPOINT, ()))
        self._has_loaded = True

    def _look_at_steps(self) -> None:
        if self._debugs:
            self._steps = [debug.step for debug in self._debugs]

    def _go_on(self, trainer: Any) -> None:
        """Restore the step count of optimizers that do not keep one.

        Args:
            trainer: If it has taken no step, it starts over, whatever this callback saw before.
        """
        goes_on = self._has_loaded or trainer.global_step > 0
        self._has_loaded = False
        if self._options.get("initial_step") is not None or not goes_on:
            return
        taken = self._steps
        if len(taken) != len(self._debugs):  # saved by a training without this callback
            taken = [trainer.global_step if len(self._debugs) == 1 else 0] * len(self._debugs)
        for debug, steps in zip(self._debugs, taken, strict=True):
            if steps and debug.step == 0:
                debug.step = steps

    # --- the loss ---

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        """Forget the loss of discarded gradients, which L-BFGS has within a step."""
        self._loss = None

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Record the loss of the coming step, without moving it off its device."""
        if not self._debugs:
            return
        position = (trainer.global_step, *(debug.step for debug in self._debugs))
        if position != self._position:
            self._position, self._loss = position, None
        if self._loss is None:
            self._backward_passes = 0
        loss = loss.detach().float().clone()  # not the trainer's own tensor
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            scale = scaler.scale(torch.ones((), device=loss.device))
            loss = loss / scale
            for debug in self._debugs:
                debug.record(loss_scale=scale)
        self._loss = loss if self._loss is None else self._loss + loss
        self._backward_passes += 1
        recorded = self._loss
        if pl_module.automatic_optimization:  # Lightning divides each loss by this number
            accumulated = trainer.accumulate_grad_batches
            if accumulated != 1 or self._backward_passes != 1:
                recorded = recorded * (accumulated / self._backward_passes)
        for debug in self._debugs:
            debug.record(loss=recorded)

    # --- clipping ---

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Record the norm of the gradients that Lightning is about to clip."""
        if not self._debugs or not trainer.gradient_clip_val:
            return
        parameters = _parameters(optimizer)
        if trainer.gradient_clip_algorithm in (None, "norm") and not any(
            hasattr(parameter, "to_local") for parameter in parameters
        ):
            squares, _ = GradientNorms(parameters).squares()
            self._debugs[0].record(gradient_norm_before_clip=squares.sum() ** 0.5)


def _total_steps(trainer: Any, pl_module: Any) -> int | None:
    """How many steps the optimizer will take, if Lightning decides that."""
    if not pl_module.automatic_optimization:
        return None
    try:
        steps = trainer.estimated_stepping_batches
    except _MISCONFIGURATIONS:  # the number of accumulated batches varies
        return None
    return int(steps) if 0 < steps < float("inf") else None


def _run_folder(trainer: Any) -> Any:
    boards = [logger for logger in trainer.loggers if isinstance(logger, _TENSORBOARD_LOGGERS)]
    folder = boards[0].log_dir if boards else trainer.log_dir
    # Another process may compute a different version number for the folder.
    return trainer.strategy.broadcast(folder) or trainer.default_root_dir


def _folders(folder: str, module: nn.Module, optimizers: Sequence[Optimizer]) -> list[Any]:
    """The run's folder, or with several optimizers a subfolder for each."""
    if len(optimizers) == 1:
        return [folder]
    names = {id(parameter): name for name, parameter in named_parameters(module)}
    paths = [
        _shared_start([names.get(id(p), "").split(".")[:-1] for p in _parameters(optimizer)])
        for optimizer in optimizers
    ]
    shared = len(_shared_start(paths))
    parts = [".".join(path[shared:]) for path in paths]
    if "" in parts or len(set(parts)) < len(parts):
        parts = [f"optimizer{i}_{type(o).__name__}" for i, o in enumerate(optimizers)]
    return [os.path.join(folder, part) for part in parts]


def _shared_start(paths: Sequence[Sequence[str]]) -> list[str]:
    """The leading components that all paths share."""
    in_step = zip(*paths, strict=False)
    return [names[0] for names in itertools.takewhile(lambda names: len(set(names)) == 1, in_step)]


def _models(module: nn.Module, optimizers: Sequence[Optimizer]) -> list[Any]:
    """The model for each optimizer, without the parameters that only other optimizers update."""
    own = [{id(parameter) for parameter in _parameters(optimizer)} for optimizer in optimizers]
    everything = set().union(*own)
    return [
        [(n, p) for n, p in named_parameters(module) if id(p) in mine or id(p) not in everything]
        for mine in own
    ]


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
