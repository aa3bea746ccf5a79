"""The callback: attaches to an optimizer, decides when to record, contains failures, detaches.

What is read is :mod:`.capture`'s business, what is computed :mod:`.statistics`' and
:mod:`.histograms`', and what is written :mod:`.recorder`'s.
"""

from __future__ import annotations

import os
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tb_adam_plugin import schema

from . import norms, options, schedule
from .event_log import EventLog
from .measurement import Measured, Measurement
from .optimizer_state.base import ParameterState
from .optimizer_state.registry import adapter_for
from .recorder import Recorder
from .state_storage import storage_types
from .step_scalars import Scalar
from .watched_parameters import Parameters, find_parameters

_WATCHING: weakref.WeakKeyDictionary[Optimizer, weakref.ref[AdamDebugCallback]] = (
    weakref.WeakKeyDictionary()
)


class AdamDebugCallback:
    """Records what an optimizer does, for the Adam Debug tab of TensorBoard.

    The callback follows the optimizer's ``step()`` by hooks, so that the training loop stays as it
    is::

        with AdamDebugCallback(model, optimizer, log_dir="runs/first") as debug:
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss = criterion(model(inputs), targets)
                loss.backward()
                debug.record(loss=loss)  # optional
                optimizer.step()

    Training is the same, bit by bit, with and without it. If something fails while a step is
    recorded, the callback warns, stops recording, and training goes on.

    Recorded on the schedule: the columns of :data:`tb_adam_plugin.schema.STATISTICS` and
    histograms of :data:`tb_adam_plugin.schema.QUANTITIES` for each parameter of the optimizer, and
    each group's hyperparameters. Recorded at every step: the global gradient norm, the learning
    rate, what :meth:`record` was given, times. Between records nothing is read from the device.
    """

    def __init__(
        self,
        model: nn.Module | Iterable[tuple[str, Tensor]],
        optimizer: Optimizer,
        *,
        log_dir: str | os.PathLike[str] | None = None,
        writer: Any = None,
        every_n_steps: int | None = None,
        histograms_every_n_steps: int | None = None,
        total_steps: int | None = None,
        max_sampled_elements: int = 16_384,
        exact: bool = False,
        gradient_norm: bool = True,
        mirror_scalars: bool = True,
        initial_step: int | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        """Attach to an optimizer.

        Args:
            model: Gives the parameters their names: a module, or pairs of name and parameter.
            optimizer: Whose steps are recorded. ``Adam`` and ``AdamW`` with all their flags; of any
                other optimizer the measured update, the weights and the gradients.
            log_dir: Folder of the run; the event file goes into its subfolder ``adam_debug``.
            writer: Instead of ``log_dir``, a ``SummaryWriter`` whose event file is shared.
            every_n_steps: Interval of records after the first ones (steps 1, 2, 4, 8, 16, 32). By
                default 50, or about 200 records a run where ``total_steps`` is given.
            histograms_every_n_steps: Interval of histograms, if it is to be another one.
            total_steps: How many steps the run will have.
            max_sampled_elements: A parameter with more elements than this is read through a fixed
                sample of about this size. Its RMS of weight, gradient, exp_avg and √exp_avg_sq and
                its count of non-finite values are exact all the same.
            exact: Read every element of every parameter. Keeps a copy of the weights.
            gradient_norm: Record the global gradient norm at every step.
            mirror_scalars: Also write a few numbers as ordinary scalars for the Scalars tab.
            initial_step: Number of steps already taken. By default the optimizer's own count, which
                a checkpoint restores.
            on_error: What to do about a failure while a step is recorded: "warn" and go on
                training without recording, or "raise".

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If an argument has a wrong value, the optimizer has no parameter of the
                model, or another callback watches it.
            OSError: If ``log_dir`` cannot be written.
        """
        options.check_destination(log_dir, writer)
        options.check_count("every_n_steps", every_n_steps)
        options.check_count("histograms_every_n_steps", histograms_every_n_steps)
        options.check_count("total_steps", total_steps)
        options.check_count("max_sampled_elements", max_sampled_elements, least=16, optional=False)
        options.check_flag("exact", exact)
        options.check_flag("gradient_norm", gradient_norm)
        options.check_flag("mirror_scalars", mirror_scalars)
        options.check_count("initial_step", initial_step, least=0)
        options.check_choice("on_error", on_error, ("warn", "raise"))
        optimizer = options.torch_optimizer(optimizer)
        self._refuse_second_callback(optimizer)

        self._optimizer = optimizer
        self._state = adapter_for(optimizer)
        # An iterator would be empty when the layout is built anew.
        self._model = model if isinstance(model, nn.Module) else _as_list(model)
        self._max_sampled_elements = None if exact else max_sampled_elements
        self._schedule = schedule.choose(every_n_steps, total_steps)
        self._histogram_schedule = (
            self._schedule
            if histograms_every_n_steps is None
            else schedule.choose(histograms_every_n_steps, total_steps)
        )
        self._with_gradient_norm = gradient_norm
        self._mirror_scalars = mirror_scalars
        self._raises = on_error == "raise"
        self._step = initial_step or 0
        self._follows_optimizer = initial_step is None
        self._step_is_known = not self._follows_optimizer
        self._step_is_first = True
        self._enabled = True
        self._in_step = False
        self._recording = False
        self._milliseconds = 0.0
        self._warned: set[str] = set()
        self._parameters: Parameters | None = None

        self._rebuild()
        self._recorder = Recorder(EventLog(log_dir, writer=writer))
        self._close_recorder = weakref.finalize(self, _close, self._recorder)
        # Compiling an optimizer's step must not compile the callback into it.
        self._handles = [
            optimizer.register_step_pre_hook(torch.compiler.disable(self._before_step)),
            optimizer.register_step_post_hook(torch.compiler.disable(self._after_step)),
            optimizer.register_load_state_dict_post_hook(self._after_load),
        ]
        _WATCHING[optimizer] = weakref.ref(self)

    @property
    def step(self) -> int:
        """Optimizer steps taken so far. Set it to follow a counter of your own."""
        self._read_step_count()
        return self._step

    @step.setter
    def step(self, value: int) -> None:
        options.check_count("step", value, least=0, optional=False)
        self._step = value
        self._follows_optimizer = False
        self._step_is_known = True

    def record(self, **scalars: float | Tensor) -> None:
        """Record scalars of the coming step, such as ``loss=loss``.

        Call it before ``optimizer.step()``; of several values for one step the last one counts. A
        tensor stays on its device until the next record is written.

        Args:
            **scalars: Real numbers, or tensors of one element.

        Raises:
            ValueError: If a name is one of :data:`tb_adam_plugin.schema.STEP_COLUMNS`, or a tensor
                has not exactly one element.
            TypeError: If a value is no real number.
        """
        if self._enabled:
            self._recorder.rows.record(dict(scalars))

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system."""
        self._contained("flushing the event file", self._flush)

    def close(self) -> None:
        """Stop recording, detach from the optimizer and close the event file.

        Calling it again does nothing. Without it, the same happens at exit.
        """
        self._enabled = False
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if _WATCHING.get(self._optimizer, _nobody)() is self:
            del _WATCHING[self._optimizer]
        if self._close_recorder.detach() is not None:
            self._contained("closing the event file", self._recorder.close)

    def __enter__(self) -> AdamDebugCallback:
        """Return the callback."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the callback."""
        self.close()

    # --- hooks ---

    def _before_step(self, *_: object) -> None:
        if self._enabled:
            self._contained("reading the state before a step", self._begin_step)

    def _after_step(self, *_: object) -> None:
        # A subclass whose step() calls its parent's fires the hooks twice: the first one counts.
        if self._enabled and self._in_step:
            self._in_step = False
            self._contained("recording a step", self._end_step)

    def _after_load(self, *_: object) -> None:
        """The optimizer's own count is another one now."""
        self._step_is_known = not self._follows_optimizer
        self._step_is_first = True

    def _begin_step(self) -> None:
        start = time.perf_counter()
        self._in_step = True
        self._read_step_count()
        step = self._step + 1
        self._recording = (
            self._step_is_first
            or self._schedule.is_due(step)
            or self._histogram_schedule.is_due(step)
        )
        if self._recording:
            with torch.no_grad():
                if self._fingerprint != self._current_fingerprint():
                    self._rebuild()
                for measurement in self._measurements:
                    measurement.before_step()
        self._milliseconds += (time.perf_counter() - start) * 1e3

    def _end_step(self) -> None:
        if self._was_skipped():
            return
        start = time.perf_counter()
        self._step += 1
        with torch.no_grad():
            if self._recording:
                self._end_recorded_step(start)
            else:
                norm = self._gradient_norm() if self._with_gradient_norm else None
                self._add_row(start, float("nan") if norm is None else norm)

    def _end_recorded_step(self, start: float) -> None:
        # The first step after a resume is looked at in full, whatever the schedules say.
        with_histograms = self._step_is_first or self._histogram_schedule.is_due(self._step)
        self._step_is_first = False
        states = [measurement.states() for measurement in self._measurements]
        self._describe(states)
        parts = [
            measurement.after_step(with_histograms, self._others, of_measurement)
            for measurement, of_measurement in zip(self._measurements, states, strict=True)
        ]
        norm = float("nan")
        if self._with_gradient_norm:
            norm = self._full_gradient_norm(parts)
        tensors, statistics = self._tensors(parts)
        scalars = self._mirrored(statistics, norm) if self._mirror_scalars else {}
        self._add_row(start, norm)
        writing = time.perf_counter()
        self._recorder.write(tensors, scalars)
        self._milliseconds += (time.perf_counter() - writing) * 1e3

    def _add_row(self, start: float, norm: Scalar) -> None:
        lr = self._optimizer.param_groups[0].get("lr", float("nan"))
        self._recorder.end_step(
            self._step,
            time.time(),
            gradient_norm=norm,
            # A scheduler changes a tensor in place.
            lr=lr.detach().clone() if isinstance(lr, Tensor) else lr,
            callback_milliseconds=self._milliseconds + (time.perf_counter() - start) * 1e3,
        )
        self._milliseconds = 0.0

    # --- one record ---

    def _gradient_norm(self) -> Tensor | None:
        groups = self._optimizer.param_groups
        return norms.gradient_norm(parameter for group in groups for parameter in group["params"])

    def _full_gradient_norm(self, parts: list[Measured]) -> float:
        """The norm from sums that the record needed anyway, if they cover every parameter."""
        watched = sum(len(part.statistics) for part in parts)
        if watched == sum(len(group["params"]) for group in self._optimizer.param_groups):
            return float(np.sqrt(sum(part.squared_gradients for part in parts)))
        norm = self._gradient_norm()
        return float("nan") if norm is None else float(norm)

    def _tensors(
        self, parts: list[Measured]
    ) -> tuple[list[schema.TaggedTensor], npt.NDArray[np.float32]]:
        statistics = np.concatenate([part.statistics for part in parts])[self._order]
        groups = self._optimizer.param_groups
        hyperparameters = np.array([self._state.hyperparameters(group) for group in groups])
        columns = schema.Columns(self._state.hyperparameter_names)
        tensors = [
            schema.statistics_tensor(self._layout, statistics),
            schema.hyperparameters_tensor(self._layout, hyperparameters, columns),
        ]
        counts = [part.counts for part in parts if part.counts is not None]
        if counts:
            together = np.concatenate(counts)[self._order]
            tensors += schema.histogram_tensors(self._layout, together)
        return tensors, statistics

    def _mirrored(self, statistics: npt.NDArray[np.float32], norm: float) -> dict[str, float]:
        """Ordinary scalars, for viewers that know nothing of the tab."""
        column = self._layout.statistics.index("update_to_weight_ratio")
        ratios = statistics[:, column]
        ratios = ratios[np.isfinite(ratios)]
        scalars = {"gradient_norm": norm}
        if len(ratios):
            scalars["update_to_weight_ratio_median"] = float(np.median(ratios))
            scalars["update_to_weight_ratio_largest"] = float(ratios.max())
        for i, group in enumerate(self._optimizer.param_groups):
            scalars[f"lr/group{i}"] = float(group.get("lr", float("nan")))
        return {
            f"{schema.PLUGIN_NAME}/{name}": value
            for name, value in scalars.items()
            if np.isfinite(value)
        }

    # --- layout ---

    def _rebuild(self) -> None:
        """Find out what there is to record, and choose the elements to read."""
        parameters = find_parameters(self._model, self._optimizer.param_groups)
        kinds: dict[tuple[torch.device, bool], list[int]] = {}
        for i, watched in enumerate(parameters.watched):
            is_double = watched.parameter.dtype == torch.float64
            kinds.setdefault((watched.parameter.device, is_double), []).append(i)
        self._measurements = [
            Measurement(
                [parameters.watched[i] for i in indices], self._state, self._max_sampled_elements
            )
            for indices in kinds.values()
        ]
        # Measurements come device by device, the layout's rows in the optimizer's order.
        self._order = np.argsort([i for indices in kinds.values() for i in indices])
        self._parameters = parameters
        self._fingerprint = self._current_fingerprint()
        self._described: object = None
        notice = () if self._state.notice is None else (self._state.notice,)
        for message in (*parameters.notices, *notice):
            self._warn_once(message)

    def _describe(self, states: list[list[ParameterState | None]]) -> None:
        """Build the layout anew where the state of the optimizer is another one than before.

        Its tensors are known only after a step, and a checkpoint may bring others.

        Args:
            states: Of the parameters of each measurement.
        """
        assert self._parameters is not None
        found = [state for part in states for state in part]
        in_order = [found[i] for i in self._order]
        groups = [w.group for w in self._parameters.watched]
        storage = [
            storage_types([s for s, group in zip(in_order, groups, strict=True) if group == g])
            for g in range(len(self._optimizer.param_groups))
        ]
        self._others = sorted({key for s in found if s is not None for key in s.others})
        if self._described != (self._others, storage):
            self._described = (self._others, storage)
            read = np.concatenate([m.panel.elements_read for m in self._measurements])
            self._layout = self._parameters.layout(
                self._state, read[self._order].tolist(), self._others, storage
            )

    def _current_fingerprint(self) -> tuple[object, ...]:
        assert self._parameters is not None
        return self._parameters.fingerprint(self._state)

    # --- steps ---

    def _read_step_count(self) -> None:
        """Continue from the optimizer's own count, which says where a resumed run stands."""
        if not self._step_is_known:
            taken = self._state.steps_taken()
            self._step = self._step if taken is None else taken
            self._step_is_known = True

    def _was_skipped(self) -> bool:
        """Whether a gradient scaler made a fused optimizer leave everything as it was.

        On a device the answer would have to be waited for; there such a step counts as one.
        """
        found_inf = getattr(self._optimizer, "found_inf", None)
        return isinstance(found_inf, Tensor) and not found_inf.is_cuda and bool(found_inf)

    # --- failures ---

    def _contained(self, doing: str, function: Callable[[], None]) -> None:
        """Run something that must not end training."""
        try:
            function()
        except Exception as error:
            self._enabled = False
            if self._raises:
                raise
            self._warn_once(
                f"failed while {doing} at step {self._step} ({type(error).__name__}: {error}); "
                "nothing more is recorded, training goes on"
            )

    def _flush(self) -> None:
        self._recorder.write()
        self._recorder.log.flush()

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(f"Adam Debug: {message}", stacklevel=2)

    @staticmethod
    def _refuse_second_callback(optimizer: Optimizer) -> None:
        other = _WATCHING.get(optimizer, _nobody)()
        if other is not None:
            raise ValueError(
                f"optimizer is watched by another AdamDebugCallback, which writes to "
                f"{other._recorder.log.location}: close() that one before"
            )


def _as_list(model: object) -> Any:
    """Keep the items of an iterable; what is none is reported where the names are read."""
    return list(model) if isinstance(model, Iterable) else model


def _nobody() -> None:
    return None


def _close(recorder: Recorder) -> None:
    """At exit, or when nobody has the callback any more: too late to warn or to raise."""
    try:
        recorder.close()
    except Exception as error:
        warnings.warn(f"Adam Debug: the last records were lost: {error}", stacklevel=2)
