"""The callback: attaches to an optimizer, follows its steps through hooks, and detaches.

:mod:`.steps` holds the work done before and after a step.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from .attach import options
from .attach.arguments import Arguments
from .optimizer_state.registry import adapter_for
from .probes import uncounted_steps
from .probes.detaching import OptimizerHooks
from .ranks.placement import find_placement, is_alone
from .steps.assembly import agenda_of, assemble
from .steps.checkpoints import Checkpoints
from .steps.failures import STEPS, WRITING
from .steps.notices import warn_without_raising
from .steps.own_time import thread_time
from .steps.refusals import AlreadyWatchedError
from .steps.step_start import with_closure
from .write.output import Recorder

if TYPE_CHECKING:
    from tb_adam_plugin.diagnosis.rule import Finding

_WATCHING: weakref.WeakKeyDictionary[Optimizer, weakref.ref[AdamDebugCallback]] = (
    weakref.WeakKeyDictionary()
)


class AdamDebugCallback:
    """Records what an optimizer does, for the Adam Debug tab of TensorBoard.

    The callback hooks the optimizer's ``step()``, so the training loop stays as it is::

        with AdamDebugCallback(model, optimizer, log_dir="runs/first") as debug:
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss = criterion(model(inputs), targets)
                loss.backward()
                debug.record(loss=loss)  # optional
                optimizer.step()

    Training is bit-identical with and without it. If recording a step fails, the callback warns and
    keeps recording without the failed part; training continues.

    On a schedule it records the columns of :data:`tb_adam_plugin.schema.STATISTICS` and histograms
    of :data:`tb_adam_plugin.schema.QUANTITIES` for each parameter of the optimizer, and each
    group's hyperparameters. At every step it records the global gradient norm (less often where
    ``max_overhead`` leaves too little time for it), the learning rate, the scalars given to
    :meth:`record`, and timings. Between records nothing is read from a device. When the gradient
    norm jumps or is not finite, the callback writes the norm of each parameter's gradient at the
    last 64 steps and records the next 16 steps in full.
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
        normalized_update: bool = False,
        max_overhead: float | None = None,
        gradient_norm: bool = True,
        loss_closure: Callable[[], float | Tensor] | None = None,
        mirror_scalars: bool = True,
        initial_step: int | None = None,
        on_error: Literal["warn", "raise"] = "warn",
        on_finding: Literal["warn"] | Callable[[Finding], object] | None = None,
    ) -> None:
        """Attach to an optimizer.

        Args:
            model: Supplies the parameter names: a module, or pairs of name and parameter.
            optimizer: The optimizer to record. docs/optimizers.md lists the supported ones; for any
                other, the callback records the measured update, the weights, the gradients and the
                optimizer's state as it finds it.
            log_dir: Folder of the run; the event file goes into its subfolder ``adam_debug``. In
                distributed training, pass the same folder on every rank: see docs/distributed.md.
            writer: A ``SummaryWriter`` whose event file to share, instead of ``log_dir``. While
                another callback writes to that folder, however it was given, this one writes to
                ``adam_debug_2`` there, as a separate run, and warns.
            every_n_steps: Interval between records, in steps. Steps 1, 2, 4, 8, 16 ... are recorded
                as well. The default depends on ``total_steps``. If it is given, every step of a run
                of up to 200 steps is recorded, and 100 to 200 steps of a longer run. Otherwise the
                interval grows from 1 (the first 200 steps) to 2 (up to step 400), 5 (up to 1,000)
                and finally 50 (from step 4,000 on).
            histograms_every_n_steps: Interval between histograms, if different from the records'.
            total_steps: How many steps the run will take.
            max_sampled_elements: A parameter with more elements is read through a fixed sample of
                about this size. The RMS of its weight, gradient, exp_avg and √exp_avg_sq and its
                count of non-finite values stay exact.
            exact: Read every element of every parameter. Keeps a copy of the weights.
            normalized_update: Also make histograms of the update that Adam requests before the
                learning rate is applied, m̂/(√v̂+ε).
            max_overhead: Largest share of the training time that the callback may take, after an
                allowance of 10 seconds per run. Above it, records and gradient norms become less
                frequent, which the tab reports. All of the callback's work counts, on the CPU by
                thread time; at least half of the budget is reserved for records. 1 means no limit.
                The default is 0.01, or no limit if ``every_n_steps`` is given.
            gradient_norm: Record the global gradient norm at every step, time permitting, and
                record more closely after a jump.
            loss_closure: Returns the loss of the current batch, without a backward pass. It is
                called before and after each recorded step to compute the gain ratio: the actual
                decrease of the loss relative to the decrease that the gradient predicts. The ratio
                is NaN where it is unknown; docs/options.md explains when. The global random state
                and the gradients, buffers and modes of ``model`` are restored afterwards. Such a
                step temporarily holds a copy of the weights.
            mirror_scalars: Also write a few numbers as ordinary scalars for the Scalars tab.
            initial_step: Number of steps already taken. Defaults to the optimizer's own count,
                which a checkpoint restores.
            on_error: What to do if recording a step fails: "warn" and continue without the failed
                part, or "raise".
            on_finding: Diagnose each record, as the tab does. "warn" warns of errors
                and warnings; a function is called with each
                :class:`tb_adam_plugin.diagnosis.rule.Finding` that is new, returns, or becomes more
                severe (``finding.in_language("zh")`` is Chinese), and may raise an exception to end
                the training. None turns this off.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If an argument has a wrong value, the optimizer holds no parameter of the
                model, or another callback already records it.
            OSError: If ``log_dir`` cannot be written.
        """
        began = thread_time()
        arguments = Arguments(
            model,
            optimizer,
            log_dir,
            writer,
            every_n_steps,
            histograms_every_n_steps,
            total_steps,
            max_sampled_elements,
            exact,
            normalized_update,
            max_overhead,
            gradient_norm,
            loss_closure,
            mirror_scalars,
            initial_step,
            on_error,
            on_finding,
        )
        torch_optimizer = arguments.checked_optimizer()
        _refuse_second_callback(torch_optimizer)
        self._placement = find_placement(model, optimizer, torch_optimizer)
        if loss_closure is not None and not is_alone():
            raise ValueError(
                "loss_closure cannot be used in distributed training: one rank cannot evaluate the "
                "loss without the others"
            )
        state = adapter_for(torch_optimizer)
        self._agenda = agenda_of(arguments, state)
        self._is_closed = self._is_at_work = False
        self._running_steps = 0  # more than one if a subclass calls its parent's step()
        self._hooks: OptimizerHooks | None = None
        if self._placement.is_silent:
            self._agenda.enabled = False
            return
        parts = assemble(arguments, torch_optimizer, state, self._placement, self._agenda)
        self._opening, self._steps, tools = parts.opening, parts.steps, parts.tools
        self._parameters, self._output, self._time = tools.parameters, tools.output, tools.own_time
        self._start = tools.start
        self._failures, self._notices = tools.failures, tools.notices
        self._close_recorder = weakref.finalize(self, _close, self._opening.recorder)
        self._attach(torch_optimizer)
        self._agenda.budget.add_outside(thread_time() - began)

    @property
    def step(self) -> int:
        """Optimizer steps taken so far. Set it to follow your own counter."""
        # Without hooks nothing advances the count.
        return self._agenda.count.read(goes_on=self._agenda.enabled)

    @step.setter
    def step(self, value: int) -> None:
        options.check_count("step", value, least=0, optional=False)
        if value != self._agenda.count.number:
            self._agenda.budget.begin_anew()
        self._agenda.count.set(value)

    def record(self, **scalars: float | Tensor) -> None:
        """Record scalars of the coming step, such as ``loss=loss``.

        Call it before ``optimizer.step()``; the last of several values for one step counts. A
        tensor stays on its device until the next record is written.

        The diagnosis knows these names: ``loss``; ``surrogate_loss``, to be used instead of
        ``loss`` for a loss that does not measure progress, such as that of PPO or of one side of a
        GAN; ``gradient_norm_before_clip``; and ``loss_scale``, of a gradient scaler.

        Args:
            **scalars: Real numbers, or tensors of one element. Up to 200 other names are kept, each
                of at most 200 characters.

        Raises:
            ValueError: If a name is one of :data:`tb_adam_plugin.schema.STEP_COLUMNS` or
                ``OPTIONAL_STEP_COLUMNS``, or a tensor does not have exactly one element.
            TypeError: If a value is not a real number.
        """
        if self._agenda.enabled and not self._skips_capture():
            since = self._time.busy()
            notice = self._output.recorder.rows.record(dict(scalars))
            if notice and self._placement.writes:
                self._notices.warn_once(notice, "names of scalars")
            self._time.add_between_steps(since)

    def keep_batch(self, *batch: Any) -> None:
        """Keep the coming step's batch, to save it if the gradient jumps.

        Call it before ``optimizer.step()``, once per micro-batch. The callback keeps references to
        the batches of the last four steps, up to 64 per step. When the gradient norm jumps or is
        not finite, it saves that step's batches beside the event file, as
        ``adam_debug/batches/step_N.pt``: at most 8 files and 256 MB per run. Findings name the
        file. ``torch.load(file, map_location="cpu")`` returns ``{"step": N, "batches": [...]}``, a
        tuple for each call; batches with objects such as a dataclass need ``weights_only=False``,
        which is only safe for your own files (docs/recipes.md). Without ``gradient_norm`` nothing
        is kept. A batch with over 16 MB to copy, or over 100,000 parts, is not saved, with a
        warning. Batches of a step that a scaler skips without ``step()`` count for the next one.

        Args:
            *batch: Inputs, targets, indices of examples, or anything else ``torch.save`` accepts.
        """
        if self._placement.is_silent:
            return
        if self._agenda.enabled and self._agenda.history is not None:
            self._output.batches.keep(batch)
        else:
            self._output.batches.release()

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system."""
        if not self._placement.is_silent:
            self._failures.run(WRITING, "flushing the event file", self._output.flush)

    def close(self) -> None:
        """Stop recording, detach from the optimizer and close the event file.

        Calling it again does nothing. It is also called at exit. Hooks may call it, and functions
        that were given to the callback.
        """
        self._agenda.enabled = False
        if self._hooks is not None:
            self._hooks.take_off()
        if self._is_closed or self._is_at_work:
            return
        if not self._placement.is_silent:
            self._steps.close()
            optimizer = self._parameters.optimizer
            if _WATCHING.get(optimizer, _nobody)() is self:
                del _WATCHING[optimizer]
            if self._close_recorder.detach() is not None:
                recorder = self._output.recorder
                self._failures.run(WRITING, "closing the event file", recorder.close)
            self._steps.release()
            self._parameters.release()
            self._start.cleared.release()
            self._output.batches.release()
        # Keep nothing of the training alive: this object may outlive the model.
        self._is_closed = True
        self._agenda.release()
        self._placement = replace(self._placement, groups=None, shard_of=None)

    def __enter__(self) -> AdamDebugCallback:
        """Return the callback."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the callback."""
        self.close()

    # --- hooks ---

    def _attach(self, optimizer: Optimizer) -> None:
        checkpoints = Checkpoints(self._agenda, self._parameters, self._failures, self._notices)
        self._hooks = OptimizerHooks(
            optimizer,
            before_step=self._before_step,
            after_step=self._after_step,
            before_load=checkpoints.before_load,
            after_load=checkpoints.after_load,
        )
        self._notices.in_training = True
        _WATCHING[optimizer] = weakref.ref(self)

    def _before_step(
        self, _: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        agenda = self._agenda
        if self._hooks is not None:  # if a hook created the callback, some hooks were deferred
            self._hooks.put_on()
        if not agenda.enabled:
            return None
        if self._skips_capture():
            self._running_steps = 0
            agenda.count.read_anew()  # it counts replays
            return None
        # The outermost call counts: a subclass's work around its parent's step is part of the step.
        if self._running_steps and uncounted_steps.is_nested(self._parameters.optimizer):
            self._running_steps += 1
            return None
        self._time.enter_hook()
        if self._running_steps:  # an error ended the last one: did the optimizer count it?
            agenda.count.read_anew()
        self._running_steps = 1
        if self._opening.is_waiting and not self._failures.run(
            STEPS, "opening the event file", self._open
        ):
            return None
        if not agenda.enabled:
            return None
        self._complete(self._steps.begin_step)
        self._time.leave_hook_before_step()
        if not agenda.enabled or not self._start.reads_closures:
            return None
        return with_closure(args, kwargs, self._start.wrapped)

    def _after_step(self, *_: object) -> None:
        if self._hooks is not None:  # if a hook created the callback, some hooks were deferred
            self._hooks.put_on()
        if not self._agenda.enabled:
            return
        if not self._running_steps:  # created within this step
            self._agenda.count.read_anew()
            return
        self._running_steps -= 1
        if self._running_steps:
            return
        self._time.enter_hook()
        with self._start.cleared.put_back(is_recording=self._start.is_recording):
            self._complete(self._steps.end_step)
        self._parameters.forget_gradients()
        self._output.hand_out_findings()

    def _complete(self, work: Callable[[], None]) -> None:
        """Do something that needs all parts; a user's function may close them in the meantime."""
        self._is_at_work = True
        try:
            work()
        finally:
            self._is_at_work = False
            if self._hooks is None or not self._hooks.is_attached:
                self.close()

    def _open(self) -> None:
        self._opening.open_unless_copy(self._agenda, self._parameters)

    def _skips_capture(self) -> bool:
        """Whether a CUDA graph is being captured, when nothing can be read; warns once."""
        if not (self._parameters.is_on_cuda and uncounted_steps.is_captured()):
            return False
        self._notices.warn_once(
            "a CUDA graph is being captured: its steps are not recorded, now or when the graph is "
            "replayed; training continues"
        )
        return True


def _refuse_second_callback(optimizer: Optimizer) -> None:
    other = _WATCHING.get(optimizer, _nobody)()
    if other is not None:
        raise AlreadyWatchedError(
            f"optimizer is watched by another AdamDebugCallback, which writes to "
            f"{other._output.recorder.log.location}: close() it first"
        )


def _nobody() -> None:
    return None


def _close(recorder: Recorder) -> None:
    """Close at exit, or once the callback is garbage-collected: too late to raise."""
    try:
        recorder.close()
    except Exception as error:
        warn_without_raising(f"the last records were lost: {error}")
