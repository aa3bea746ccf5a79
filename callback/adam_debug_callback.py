"""The callback: attaches to an optimizer, decides when to record, contains failures, detaches.

What is recorded of a step is :mod:`.steps.parameter_records`' business, and what is written
:mod:`.write.output`'s.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from tb_adam_plugin import schema

from .attach import options
from .attach.naming import listed
from .optimizer_state import storage
from .optimizer_state.group_settings import as_number
from .optimizer_state.registry import adapter_for
from .probes import uncounted_steps
from .probes.gain_ratio import GainRatio
from .probes.stale_gradients import StaleGradients
from .ranks.ranks import Copies, Said, find_place, is_alone
from .ranks.shared_steps import SharedSteps, Trouble
from .read.norms import GradientNorms, Squares
from .read.tensor_reader import CaptureError
from .schedule import intervals
from .schedule.gradient_history import GradientHistory
from .schedule.overhead import OverheadBudget
from .steps.parameter_records import ParameterRecords, StepRecord
from .write.output import NoLog, Recorder
from .write.run_claims import RunClaim
from .write.step_rows import Scalar, StepRows

if TYPE_CHECKING:
    from tb_adam_plugin.diagnosis.rule import Finding

    from .steps.live_diagnosis import LiveDiagnosis

_DEFAULT_MAX_OVERHEAD = 0.01
# Without a record the rows of steps wait in memory; not more of them than this.
_MOST_WAITING_ROWS = 1000
_STEPS_BETWEEN_BUDGETS = 16
# After so many failures in a row the event file is given up.
_FAILED_WRITES = 10

# Parts that fail, and are given up, each on its own.
_STEPS, _RECORDS, _NORMS = "steps", "records", "gradient norms"
_WRITING, _LOADING = "event files", "checks of checkpoints"
_DIAGNOSIS = "findings"
_LEFT_OUT = "are left out from now on, training goes on"
_ENDED = "nothing more is recorded, training goes on"
_GAIN, _STALE = "gain ratios", "checks for stale gradients"

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
    recorded, the callback warns, goes on without what failed, and so does training.

    Recorded on the schedule: the columns of :data:`tb_adam_plugin.schema.STATISTICS` and
    histograms of :data:`tb_adam_plugin.schema.QUANTITIES` for each parameter of the optimizer, and
    each group's hyperparameters. Recorded at every step: the global gradient norm (less often where
    it takes more time than ``max_overhead`` leaves), the learning rate, what :meth:`record` was
    given, times. Between records nothing is read from a device. When the gradient norm jumps or is
    not finite, the norm of each parameter's gradient at the last 64 steps is written, and the next
    16 steps are recorded in full.
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
            model: Gives the parameters their names: a module, or pairs of name and parameter.
            optimizer: Whose steps are recorded; docs/optimizers.md says what is known of which. Of
                any other the measured update, the weights, the gradients and its state as it is.
            log_dir: Folder of the run; the event file goes into its subfolder ``adam_debug``. In
                distributed training every rank passes the same one: see docs/distributed.md.
            writer: Instead of ``log_dir``, a ``SummaryWriter`` whose event file is shared. While
                another callback writes to that folder, whichever way it was given, this one writes
                into ``adam_debug_2`` there, is shown as a run of its own, and warns.
            every_n_steps: Interval of records. Steps 1, 2, 4, 8, 16 ... are recorded besides. By
                default, with ``total_steps``, every step of a run of up to 200 and 100 to 200
                records of a longer one; without it an interval that grows from 1 (the first 200
                steps) over 2 (up to 400) and 5 (up to 1,000) to 50 (from step 4,000 on).
            histograms_every_n_steps: Interval of histograms, if it is to be another one.
            total_steps: How many steps the run will have.
            max_sampled_elements: A parameter with more elements than this is read through a fixed
                sample of about this size. Its RMS of weight, gradient, exp_avg and √exp_avg_sq and
                its count of non-finite values are exact all the same.
            exact: Read every element of every parameter. Keeps a copy of the weights.
            normalized_update: Also make histograms of the update that Adam asks for before the
                learning rate, m̂/(√v̂+ε).
            max_overhead: Largest share of the training time that the callback may take, after an
                allowance of 10 seconds for the run: where it would take more, records are made
                less often, and gradient norms computed, which the tab says. All that it does
                counts, on the CPU the time that the thread ran; at least half of it is for
                records. 1 for no limit. By default 0.01 where the interval is the callback's
                choice, and no limit where ``every_n_steps`` is given.
            gradient_norm: Record the global gradient norm at every step that there is time for,
                and look closer when it jumps.
            loss_closure: Returns the loss of the current batch, without a backward pass. Called
                before and after each step that is recorded, for the gain ratio: how much of what
                the gradient promised the step has kept. Global random numbers, and the gradients,
                buffers and modes of ``model``, are afterwards as they were. The weights are copied
                for the time of such a step.
            mirror_scalars: Also write a few numbers as ordinary scalars for the Scalars tab.
            initial_step: Number of steps already taken. By default the optimizer's own count, which
                a checkpoint restores.
            on_error: What to do about a failure while a step is recorded: "warn" and go on
                without what failed, or "raise".
            on_finding: Look at each record for what is wrong in training, as the tab does: "warn"
                of errors and warnings, or a function that is called with each
                :class:`tb_adam_plugin.diagnosis.rule.Finding` when it is new, comes back after it
                was gone, or has become more severe. An exception of that function ends the
                training. None to not look.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If an argument has a wrong value, the optimizer has no parameter of the
                model, or another callback watches it.
            OSError: If ``log_dir`` cannot be written.
        """
        started = time.thread_time()
        options.check_destination(log_dir, writer)
        options.check_count("every_n_steps", every_n_steps)
        options.check_count("histograms_every_n_steps", histograms_every_n_steps)
        options.check_count("total_steps", total_steps)
        options.check_count("max_sampled_elements", max_sampled_elements, least=16, optional=False)
        options.check_flag("exact", exact)
        options.check_flag("normalized_update", normalized_update)
        options.check_share("max_overhead", max_overhead)
        options.check_flag("gradient_norm", gradient_norm)
        options.check_flag("mirror_scalars", mirror_scalars)
        options.check_count("initial_step", initial_step, least=0)
        options.check_choice("on_error", on_error, ("warn", "raise"))
        options.check_reaction("on_finding", on_finding)
        torch_optimizer = options.torch_optimizer(optimizer)
        options.check_loss_closure(loss_closure, model, torch_optimizer)
        self._refuse_second_callback(torch_optimizer)
        place = find_place(model, optimizer, torch_optimizer)
        if loss_closure is not None and not is_alone():
            raise ValueError(
                "loss_closure cannot be used in distributed training: one rank cannot evaluate the "
                "loss without the others"
            )
        optimizer = torch_optimizer

        self._optimizer = optimizer
        self._state = adapter_for(optimizer)
        self._steps_taken = self._state.steps_taken
        self._is_closed = False
        self._is_on_cuda = self._is_on_device = False
        self._schedule = intervals.choose(every_n_steps, total_steps)
        self._histogram_schedule = (
            self._schedule
            if histograms_every_n_steps is None
            else intervals.choose(histograms_every_n_steps, total_steps)
        )
        if max_overhead is None and every_n_steps is None:
            max_overhead = _DEFAULT_MAX_OVERHEAD
        # A limit of all of the time is none, so that what is recorded does not depend on a clock.
        self._budget = OverheadBudget(
            None if max_overhead == 1 else max_overhead, (self._schedule, self._histogram_schedule)
        )
        self._stretch = self._norm_interval = 1
        self._history = GradientHistory() if gradient_norm else None
        self._stale_gradients = StaleGradients()
        self._gain: GainRatio | None = None
        if loss_closure is not None:
            assert isinstance(model, nn.Module)
            self._gain = GainRatio(loss_closure, model)
            self._gain.remember_random_state()
        self._mirror_scalars = mirror_scalars
        self._raises = on_error == "raise"
        self._live: LiveDiagnosis | None = None
        self._on_finding = on_finding
        self._findings: list[Finding] = []
        self._place = place
        self._shared: SharedSteps | None = None
        writes = not place.is_silent and (place.ranks is None or place.ranks.is_first)
        if on_finding is not None and writes:
            from .steps.live_diagnosis import (
                LiveDiagnosis,  # rules are loaded only where they are wanted
            )

            self._live = LiveDiagnosis(total_steps)
        self._step = initial_step or 0
        self._follows_optimizer = initial_step is None
        self._step_is_known = not self._follows_optimizer
        self._counts_steps = not self._follows_optimizer  # where other processes may not
        self._step_is_first = True
        self._enabled = True
        self._in_training = False
        self._running_steps = 0  # more than one where a subclass calls its parent's step()
        self._due = False
        self._is_extra = False
        self._recording = False
        self._had_no_state = False
        self._skipped_in_a_row = 0
        self._squares_before: tuple[Squares, tuple[bool, ...]] | None = None
        self._record: StepRecord | None = None
        self._norm: Scalar = float("nan")
        self._seconds_before_step = 0.0
        self._busy_seconds = 0.0  # before the step, as the budget counts them
        self._busy_since = 0.0
        self._seconds_between_steps = 0.0  # in record()
        self._seconds_since_row = 0.0  # that the callback took
        self._last_step_ended: float | None = None
        self._warned: set[str] = set()
        self._disabled: set[str] = set()
        self._failed_writes = 0
        self._types_in_checkpoint: Mapping[str, str] = {}
        self._handles: list[RemovableHandle] = []
        if place.is_silent:
            self._enabled = False
            self._recorder = Recorder(NoLog())
            self._close_recorder = weakref.finalize(self, _close, self._recorder)
            return

        with _lasting_tensors():
            self._records = ParameterRecords(
                # An iterator would be empty when the layout is built anew.
                model if isinstance(model, nn.Module) else _as_list(model),
                optimizer,
                self._state,
                None if exact else max_sampled_elements,
                (*schema.QUANTITIES, *(schema.OPTIONAL_QUANTITIES if normalized_update else ())),
                place,
            )
        self._follow_parameters()
        self._copies: Copies | None = None
        if place.may_have_copies and log_dir is not None:
            parameters = [(w.name, w.shape) for w in self._records.parameters.watched]
            self._copies = Copies(parameters, os.fspath(log_dir))
        self._unopened: RunClaim | None = None  # opened at the first step
        if writes:
            claim = RunClaim(log_dir, writer, place.folder)
            may_be_copy = self._copies is not None and not self._copies.is_first
            self._recorder = self._open(claim, now=not (may_be_copy or claim.may_become_free))
        else:
            self._recorder = Recorder(NoLog())
        if place.ranks is not None:
            self._shared = SharedSteps(place.ranks)
        self._close_recorder = weakref.finalize(self, _close, self._recorder)
        # Compiling an optimizer's step must not compile the callback into it.
        self._handles = [
            optimizer.register_step_pre_hook(torch.compiler.disable(self._before_step)),
            optimizer.register_step_post_hook(torch.compiler.disable(self._after_step)),
            optimizer.register_load_state_dict_pre_hook(self._before_load),
            optimizer.register_load_state_dict_post_hook(self._after_load),
        ]
        self._in_training = True
        _WATCHING[optimizer] = weakref.ref(self)
        self._budget.add_outside(time.thread_time() - started)

    @property
    def step(self) -> int:
        """Optimizer steps taken so far. Set it to follow a counter of your own."""
        self._read_step_count()
        return self._step

    @step.setter
    def step(self, value: int) -> None:
        options.check_count("step", value, least=0, optional=False)
        if value != self._step:
            self._budget.begin_anew()
        self._step = value
        self._follows_optimizer = False
        self._step_is_known = True
        self._counts_steps = True

    def record(self, **scalars: float | Tensor) -> None:
        """Record scalars of the coming step, such as ``loss=loss``.

        Call it before ``optimizer.step()``; of several values for one step the last one counts. A
        tensor stays on its device until the next record is written.

        Args:
            **scalars: Real numbers, or tensors of one element.

        Raises:
            ValueError: If a name is one of :data:`tb_adam_plugin.schema.STEP_COLUMNS` or
                ``OPTIONAL_STEP_COLUMNS``, or a tensor has not exactly one element.
            TypeError: If a value is no real number.
        """
        if self._enabled and not self._skips_capture():
            started = self._busy_time()
            self._recorder.rows.record(dict(scalars))
            self._seconds_between_steps += self._busy_time() - started

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system."""
        self._contained(_WRITING, "flushing the event file", self._flush)

    def close(self) -> None:
        """Stop recording, detach from the optimizer and close the event file.

        Calling it again does nothing. Without it, the same happens at exit.
        """
        self._enabled = False
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._is_closed:
            return
        self._stale_gradients.close()
        if _WATCHING.get(self._optimizer, _nobody)() is self:
            del _WATCHING[self._optimizer]
        if self._close_recorder.detach() is not None:
            self._contained(_WRITING, "closing the event file", self._recorder.close)
        self._let_go()

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

    def _open(self, claim: RunClaim, *, now: bool) -> Recorder:
        """Begin to write, or be ready to."""
        if not now:
            self._unopened = claim
            return Recorder(NoLog(claim.location), claim)
        recorder = Recorder(NoLog(), claim)
        try:
            recorder.log = claim.open()
            if claim.notice:
                self._warn_once(claim.notice)
        except BaseException:
            recorder.close()
            raise
        return recorder

    def _let_go(self) -> None:
        """Keep nothing of the training alive: this object may outlive the model."""
        self._is_closed = True
        optimizer = weakref.ref(self._optimizer)

        def steps_taken() -> int | None:
            found = optimizer()
            return None if found is None else adapter_for(found).steps_taken()

        self._steps_taken = steps_taken
        self._gain = self._history = None
        if not self._place.is_silent:
            self._records.forget()
            del self._norms
        self._place = replace(self._place, groups=None, shard_of=None)
        del self._optimizer, self._state

    # --- hooks ---

    def _before_step(self, *_: object) -> None:
        if not self._enabled:
            return
        if self._skips_capture():
            self._running_steps = 0
            self._step_is_known = not self._follows_optimizer  # replays are counted there
            return
        # The outermost call counts: what it does around its parent's step is part of the step.
        if self._running_steps and uncounted_steps.is_nested(self._optimizer):
            self._running_steps += 1
            return
        start, busy = time.perf_counter(), self._busy_time()
        if self._running_steps:  # an error ended the last one: did the optimizer count it?
            self._step_is_known = not self._follows_optimizer
        self._running_steps = 1
        self._recording = False
        if self._unopened is not None and not self._contained(
            _STEPS, "opening the event file", self._open_unless_copy
        ):
            return
        if not self._enabled:
            return
        self._contained(_STEPS, "reading the step count", self._begin_step)
        if self._due:
            self._recording = self._contained(
                _RECORDS, "reading the state before a step", self._begin_record
            )
            if self._gain is not None:
                self._contained(_GAIN, "evaluating loss_closure", self._begin_gain)
        self._seconds_before_step = time.perf_counter() - start
        self._seconds_since_row += self._seconds_before_step
        self._busy_seconds = self._busy_time() - busy

    def _after_step(self, *_: object) -> None:
        if not self._enabled or not self._running_steps:
            return
        self._running_steps -= 1
        if self._running_steps:
            return
        self._busy_since = self._busy_time()
        if self._shared is None:
            self._contained(_STEPS, "recording a step", self._end_step)
            if self._gain is not None:
                self._gain.forget()  # of a step that failed or was left out, too
                self._contained(_GAIN, "preparing for loss_closure", self._prepare_gain)
        else:
            self._end_shared_step(self._shared)
        if self._records.gradients is not None:
            self._records.gradients.forget()
        started = self._busy_time()
        self._tell_findings()
        self._seconds_between_steps += self._busy_time() - started

    def _busy_time(self) -> float:
        """What the budget counts: where nothing is waited for, the time that this thread ran.

        So a busy machine, on which a record takes many times as long, takes no records away.
        """
        waits = self._is_on_device or self._shared is not None
        return time.perf_counter() if waits else time.thread_time()

    def _skips_capture(self) -> bool:
        """Whether a CUDA graph is being captured, in which nothing may be read; then warn once."""
        if not (self._is_on_cuda and uncounted_steps.is_captured()):
            return False
        self._warn_once(
            "a CUDA graph is being captured: its steps are not recorded, neither now nor when the "
            "graph is replayed, and training goes on"
        )
        return True

    def _before_load(self, _: Optimizer, state_dict: dict[str, Any]) -> None:
        self._contained(_LOADING, "looking at a checkpoint", lambda: self._look_at(state_dict))

    def _after_load(self, *_: object) -> None:
        """The optimizer's own count is another one now, and its state may have another type."""
        self._step_is_known = not self._follows_optimizer
        self._step_is_first = True
        if self._follows_optimizer:
            self._budget.begin_anew()
        self._contained(_LOADING, "comparing a checkpoint", self._compare_storage)

    # --- one step ---

    def _open_unless_copy(self) -> None:
        """Begin to write, or leave that to the rank whose copy of the parameters this is."""
        claim, self._unopened = self._unopened, None
        assert claim is not None
        if self._copies is not None and self._copies.is_one():
            self._enabled = False
            self._step_is_known = not self._follows_optimizer
            self._records.release()
            claim.release()
            return
        claim.settle()
        self._recorder.log = claim.open(late=True)
        if claim.notice:
            self._warn_once(claim.notice)

    def _begin_step(self) -> None:
        if self._records.gradients is not None:
            self._records.gradients.forget()
        self._read_step_count()
        self._had_no_state = not self._optimizer.state
        step = self._step + 1
        if step == 1 and self._recorder.replaces_records:
            self._warn_once(
                f"{self._recorder.log.location!r} has records of an earlier training, which this "
                "one replaces from step 1 on. To keep both give each its own log_dir; to go on "
                "from a checkpoint load the optimizer's state, too, or say initial_step="
            )
        self._budget.begin_at(step)
        self._due = self._is_due(step)
        self._is_extra = self._due and not self._is_asked_for(step)
        groups = self._place.groups or self._optimizer.param_groups
        if sum(len(g["params"]) for g in groups) != self._norms.parameters:
            self._follow_parameters()
            self._due = True
        self._squares_before = None
        if self._overwrites_gradients and self._wants_norm(step):
            with torch.no_grad():
                self._squares_before = self._norms.squares()

    def _is_due(self, step: int) -> bool:
        return self._is_asked_for(step) or self._looks_closer(step)

    def _is_asked_for(self, step: int) -> bool:
        due = self._schedule.is_due(step, self._stretch, self._budget.start)
        return due or self._asks_for_histograms(step)

    def _wants_histograms(self, step: int) -> bool:
        return self._asks_for_histograms(step) or self._looks_closer(step)

    def _asks_for_histograms(self, step: int) -> bool:
        # After a resume, too, whatever the schedules say.
        start = self._budget.start
        return self._step_is_first or self._histogram_schedule.is_due(step, self._stretch, start)

    def _looks_closer(self, step: int) -> bool:
        return self._history is not None and self._history.wants_detail(step)

    def _wants_norm(self, step: int) -> bool:
        return self._history is not None and step % self._norm_interval == 0

    def _begin_record(self) -> None:
        with torch.no_grad():
            if self._records.refresh():
                self._follow_parameters()
            self._records.before_step()

    def _begin_gain(self) -> None:
        assert self._gain is not None
        self._gain.before_step(
            [
                (parameter, self._state.overwrites_gradient(group))
                for group in self._optimizer.param_groups
                for parameter in group["params"]
            ]
        )

    def _end_step(self) -> None:
        start = time.perf_counter()
        skipped = uncounted_steps.scaler_flag(self._optimizer)
        if skipped is not None and (self._recording or uncounted_steps.is_on_host(skipped)):
            if bool(skipped):
                self._skip_step()
                return
            self._skipped_in_a_row = 0
            skipped = None
        if self._had_no_state and uncounted_steps.is_phantom(self._optimizer):
            return
        self._step += 1
        self._record = None
        if self._recording:
            self._contained(_RECORDS, "recording a step", self._end_record)
        self._norm = float("nan")
        history = self._history
        if history is not None and (self._record is not None or self._wants_norm(self._step)):
            busy = self._busy_time()
            self._contained(
                _NORMS,
                "computing the gradient norm",
                lambda: self._follow_gradients(history, skipped),
            )
            if self._record is None:
                self._budget.add_norm(self._busy_time() - busy)
        self._contained(_STALE, "looking for stale gradients", self._follow_stale_gradients)
        if self._gain is not None:
            self._contained(_GAIN, "evaluating loss_closure", self._end_gain)
        self._finish_step(start, skipped)

    def _skip_step(self) -> None:
        self._budget.add_outside(self._busy_seconds)
        self._recorder.rows.skip_step()
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row == uncounted_steps.MOST_SKIPPED_IN_A_ROW:
            self._warn_once(
                f"the gradient scaler has skipped {self._skipped_in_a_row} steps in a row, so that "
                "nothing is trained: gradients are not finite",
                kind="skipped",
            )

    def _finish_step(self, start: float, skipped: Tensor | None) -> None:
        """Add the row of a step, and write what there is to write."""
        self._add_row(start, skipped)
        rows_wait_too_long = self._recorder.rows.waiting >= _MOST_WAITING_ROWS
        if self._due or rows_wait_too_long or (self._history is not None and self._history.is_due):
            writing = time.perf_counter()
            self._contained(_WRITING, "writing a record", self._write)
            self._seconds_since_row += time.perf_counter() - writing
        self._keep_to_budget(start)

    def _end_record(self) -> None:
        with torch.no_grad():
            self._record = self._records.after_step(
                self._wants_histograms(self._step),
                self._recorder.rows.upcoming("loss"),
                self._step,
            )
        self._step_is_first = False

    def _end_gain(self) -> None:
        assert self._gain is not None
        rows = self._recorder.rows
        ratio = self._gain.after_step(rows.upcoming("gradient_norm_before_clip"))
        if ratio is not None:
            rows.add("gain_ratio", ratio)

    def _prepare_gain(self) -> None:
        assert self._gain is not None
        if self._is_due(self._step + 1):
            self._gain.remember_random_state()

    def _follow_stale_gradients(self) -> None:
        ratio = self._stale_gradients.take()
        if ratio is not None:
            self._recorder.rows.add("stale_gradient_ratio", ratio)
        if self._record is not None and self._stale_gradients.wants_parameter:
            watched = [w.parameter for w in self._records.parameters.watched]
            if self._stale_gradients.watch(watched, self._record.squared_gradients):
                # From here on a column, so that the columns change seldom.
                self._recorder.rows.add("stale_gradient_ratio", float("nan"))

    @torch.no_grad()
    def _follow_gradients(self, history: GradientHistory, skipped: Tensor | None) -> None:
        """Compute the norm of all gradients, and keep that of each parameter for a while.

        Args:
            history: Where.
            skipped: On a device, whether the step was left out because they are not finite.
        """
        record = self._record
        if record is not None and len(record.statistics) == self._norms.parameters:
            squares: Squares = record.squared_gradients
            present = tuple(record.has_gradient.tolist())
        else:
            squares, present = self._squares_before or self._norms.squares()
        if any(present):
            before_clip = self._recorder.rows.upcoming("gradient_norm_before_clip")
            self._norm = history.add(self._step, squares, present, skipped, before_clip)

    def _add_row(self, start: float, skipped: Tensor | None) -> None:
        lr = self._optimizer.param_groups[0].get("lr")
        interval = self._budget.interval(self._step)
        if self._budget.max_overhead is not None:
            self._recorder.rows.add("wanted_every_n_steps", interval)
            self._recorder.rows.add("max_overhead", self._budget.max_overhead)
            if self._norm_interval > 1:
                self._recorder.rows.add("gradient_norm_every_n_steps", self._norm_interval)
        self._recorder.end_step(
            self._step,
            time.time(),
            gradient_norm=self._norm,
            # A scheduler changes a tensor in place.
            lr=lr.detach().clone() if isinstance(lr, Tensor) else as_number(lr),
            callback_milliseconds=(self._seconds_since_row + time.perf_counter() - start) * 1e3,
            every_n_steps=interval * self._stretch,
            skipped=0.0 if skipped is None else skipped.detach().reshape(()).clone(),
        )
        self._seconds_since_row = 0.0

    def _write(self) -> None:
        rows = self._recorder.rows.take()
        # Only now is it known how many steps the device left out.
        self._step -= rows.skipped
        tensors: list[schema.TaggedTensor] = []
        scalars: dict[str, float] = {}
        if self._record is not None:
            tensors += self._record.tensors
            if self._mirror_scalars:
                scalars = self._mirrored(self._record)
        if self._history is not None:
            self._history.renumber(rows.skipped)
            around = self._history.take()
            if around is not None:
                names = [w.name for w in self._records.parameters.watched]
                steps, norms = around
                tensors.append(schema.gradient_norms_tensor(names, steps, norms[:, : len(names)]))
        if self._live is not None:
            self._contained(_DIAGNOSIS, "looking for what is wrong", lambda: self._diagnose(rows))
        self._recorder.write(rows, tensors, scalars)
        self._failed_writes = 0

    def _diagnose(self, rows: StepRows) -> None:
        assert self._live is not None
        self._live.add_rows(rows)
        record, layout = self._record, self._records.layout
        if record is not None and layout is not None:
            self._findings += self._live.add_record(
                layout,
                self._step,
                time.time(),
                record.statistics,
                self._state.hyperparameter_names,
                record.hyperparameters,
            )

    def _tell_findings(self) -> None:
        """Hand out what is new; outside of what is contained, so that a user can end training."""
        findings, self._findings = self._findings, []
        for finding in findings:
            if callable(self._on_finding):
                self._on_finding(finding)
            elif finding.severity != "info":
                self._warn_once(
                    f"{finding.title} (step {finding.first_step:.0f}). {finding.text} "
                    f"{finding.advice}".rstrip(),
                    f"finding {finding.rule} {finding.severity} {finding.first_step:.0f}",
                )

    def _mirrored(self, record: StepRecord) -> dict[str, float]:
        """Ordinary scalars, for viewers that know nothing of the tab."""
        names = [statistic.name for statistic in schema.STATISTICS]
        ratios = record.statistics[:, names.index("update_to_weight_ratio")]
        ratios = ratios[np.isfinite(ratios)]
        scalars = {"gradient_norm": float(self._norm)}
        if len(ratios):
            scalars["update_to_weight_ratio_median"] = float(np.median(ratios))
            scalars["update_to_weight_ratio_largest"] = float(ratios.max())
        for i, group in enumerate(self._optimizer.param_groups):
            scalars[f"lr/group{i}"] = as_number(group.get("lr"))
        return {
            f"{schema.PLUGIN_NAME}/{name}": value
            for name, value in scalars.items()
            if np.isfinite(value)
        }

    def _keep_to_budget(self, start: float) -> None:
        """Tell the budget what this step took, and record less often if it took too much."""
        now = time.perf_counter()
        own = self._seconds_before_step + now - start
        outside, self._seconds_between_steps = self._seconds_between_steps, 0.0
        self._budget.add_outside(outside)
        if self._last_step_ended is not None:
            self._budget.add_training(max(0.0, now - self._last_step_ended - own - outside))
        self._last_step_ended = now
        recorded, self._record = self._record is not None, None
        busy = self._busy_seconds + self._busy_time() - self._busy_since
        self._budget.add_own(self._step, busy, recorded=recorded, asked_for=not self._is_extra)
        if self._shared is None and (recorded or self._step % _STEPS_BETWEEN_BUDGETS == 0):
            if recorded:
                self._stretch = self._budget.stretch(self._step)
            if self._history is not None:
                self._norm_interval = self._budget.norm_interval(self._step)

    # --- one step of several processes ---

    def _end_shared_step(self, shared: SharedSteps) -> None:
        """End a step as all other processes do, whatever happened here.

        They enter the same collectives in the same order, and act on what all of them have said.
        """
        start = time.perf_counter()
        ranks = shared.ranks
        names = [w.name for w in self._records.parameters.watched]
        nothing = np.zeros(self._norms.parameters), [False] * self._norms.parameters
        said: dict[str, Scalar] = {}
        self._record = None
        self._local_squares: tuple[Squares, Sequence[bool]] = nothing
        self._contained(_STEPS, "looking at a step", lambda: self._look_at_step(said))
        self._step += 1
        if self._recording:
            self._contained(_RECORDS, "recording a step", lambda: self._measure(said))
        if self._history is not None:
            self._contained(_NORMS, "computing the gradient norm", lambda: self._add_up(said))
        waiting = self._recorder.rows.waiting + 1
        try:
            shared.check_parameters(names, self._norms.parameters)
            failures, failed = shared.tell((_RECORDS, _NORMS), names)
            failed += [False] * (self._norms.parameters - len(names))
            said |= {**failures, "step": self._step * float(said.get("knows_step", 0))}
            norm, skipped = ranks.say(self._step, said, *self._local_squares, failed)
            heard = ranks.heard(everything=self._due or waiting >= _MOST_WAITING_ROWS)
        except Exception as error:
            self._lose_ranks(error)
            return
        now = heard[-1] if heard and ranks.has_heard_everything else None
        for one in heard:
            if one is not now:
                self._keep_norms(one)
                self._draw_conclusions(shared, one, names)
        if now is not None:
            skipped = None
            if now.total["knows_step"]:
                step = round(now.total["step"] / now.total["knows_step"])
                if self._last_step_ended is None:  # all begin to count where those that know do
                    self._budget.begin_at(step, again=True)
                self._step = step
            counts = now.total["real_step"] and not now.total["skipped"]
            if counts:
                if shared.have_measured(now):
                    self._contained(
                        _RECORDS, "recording a step", lambda: self._share_record(shared, now)
                    )
                self._keep_norms(now._replace(number=self._step))
            self._draw_conclusions(shared, now, names)
            if not counts:
                if now.total["skipped"]:
                    self._recorder.rows.skip_step()
                self._step -= 1
                self._enabled &= not shared.is_over
                return
        has_gradient = now is None or bool(now.has_gradient.any())
        self._norm = norm if self._history is not None and has_gradient else float("nan")
        self._contained(_STEPS, "recording a step", lambda: self._finish_step(start, skipped))
        self._enabled &= not shared.is_over

    def _look_at_step(self, said: dict[str, Scalar]) -> None:
        """Say what this step is. Gradients are fetched at once, because all have to do that."""
        assert self._records.gradients is not None
        gradients = self._records.gradients.fetch()
        has_parameters = any(
            w.shard is not None and w.shard.is_here for w in self._records.parameters.watched
        )
        is_phantom = self._had_no_state and uncounted_steps.is_phantom(self._optimizer, gradients)
        assert self._shared is not None
        records = self._due and _RECORDS not in self._disabled and not self._shared.is_ending
        skipped = uncounted_steps.scaler_flag(self._optimizer)
        said["real_step"] = float(has_parameters and not is_phantom)
        said["knows_step"] = float(self._counts_steps)
        said["recording"] = float(records)
        said["histograms"] = float(records and self._wants_histograms(self._step + 1))
        if skipped is not None:
            said["skipped"] = skipped.detach().reshape(()).double()
        if self._shared.ranks.is_first:
            said["stretch"] = float(self._budget.stretch(self._step))

    def _measure(self, said: dict[str, Scalar]) -> None:
        with torch.no_grad():
            self._records.measure(
                bool(said["histograms"]), self._recorder.rows.upcoming("loss"), self._step
            )
        said["measured"] = 1.0
        said["changed"] = float(self._records.is_changed)

    @torch.no_grad()
    def _add_up(self, said: dict[str, Scalar]) -> None:
        squares = self._records.squares_here() if "measured" in said else None
        if squares is not None and len(squares[1]) == self._norms.parameters:
            self._local_squares = squares
        else:
            self._local_squares = self._squares_before or self._norms.squares()

    def _share_record(self, shared: SharedSteps, said: Said) -> None:
        self._record = self._records.share(shared.ranks, said.total["changed"] > 0)
        self._step_is_first = False

    def _keep_norms(self, said: Said) -> None:
        is_whole = _NORMS not in self._disabled and not said.total["norms_failed"]
        if self._history is not None and is_whole and said.has_gradient.any():
            skipped = None
            if said.total["skipped"]:
                skipped = torch.tensor(said.total["skipped"], device="cpu")
            has_gradient = tuple(said.has_gradient.tolist())
            self._history.add(said.number, said.squares, has_gradient, skipped)

    def _draw_conclusions(self, shared: SharedSteps, said: Said, names: Sequence[str]) -> None:
        """Do what all processes do after a step."""
        todo = shared.consequences(said)
        self._stretch = max(1, int(said.total["stretch"])) if said.total["stretch"] else 1
        outcomes: list[tuple[str, str]] = []
        if todo.reads_less and self._records.shrink():
            outcomes.append((_RECORDS, "from now on fewer elements of each parameter are read"))
        elif todo.excluded and all(self._records.exclude(names[i]) for i in todo.excluded):
            self._follow_parameters()
            excluded = listed(names[i] for i in todo.excluded)
            outcomes.append((_RECORDS, f"{excluded} is recorded no more, the others are"))
        elif todo.without_records or todo.reads_less or todo.excluded:
            self._disabled.add(_RECORDS)
            self._records.release()
            self._step_is_first = False
            outcomes.append((_RECORDS, f"{_RECORDS} {_LEFT_OUT}"))
        if todo.without_norms:
            self._disabled.add(_NORMS)
            outcomes.append((_NORMS, f"{_NORMS} {_LEFT_OUT}"))
        if todo.stops:
            shared.end_after(said)
            outcomes.append((_STEPS, _ENDED))
        for part, outcome in outcomes:
            own = shared.take(part)
            elsewhere = (
                "the ranks were about to record different steps"
                if todo.disagree and part == _RECORDS
                else f"another rank failed at step {said.number}"
            )
            for what in [trouble.what for trouble in own] or [elsewhere]:
                self._warn_once(f"{what}; {outcome}", f"{part}: {outcome}")
            if self._raises:
                self._enabled = False
                raise own[0].error if own else RuntimeError(f"Adam Debug: {elsewhere}; {outcome}")

    def _lose_ranks(self, error: Exception) -> None:
        """Give up, because there is no way to agree with the other processes."""
        self._enabled = False
        if self._raises:
            raise error
        self._warn_once(
            f"failed while talking to the other ranks at step {self._step} "
            f"({type(error).__name__}: {error}); {_ENDED}"
        )

    # --- the optimizer ---

    def _follow_parameters(self) -> None:
        """Look at the gradients of the parameters that there are now, and say what is noticed."""
        gradients = self._records.gradients
        self._norms = GradientNorms(
            self._records.followed, None if gradients is None else gradients.fetch
        )
        self._is_on_cuda = any(p.is_cuda for p in self._records.followed)
        self._is_on_device = any(p.device.type != "cpu" for p in self._records.followed)
        groups = self._optimizer.param_groups
        self._overwrites_gradients = any(map(self._state.overwrites_gradient, groups))
        if self._history is not None:
            self._history.clear()
        ranks = self._place.ranks
        if ranks is None or ranks.is_first:  # all have the same parameters
            for message in self._records.notices:
                self._warn_once(message)

    def _read_step_count(self) -> None:
        """Continue from the optimizer's own count, which says where a resumed run stands."""
        if not self._step_is_known:
            taken = self._steps_taken()
            self._step = self._step if taken is None else taken
            self._step_is_known = self._enabled  # else no hook counts on
            self._counts_steps = taken is not None

    def _look_at(self, state_dict: dict[str, Any]) -> None:
        self._types_in_checkpoint = storage.types_by_key(state_dict["state"].values())

    def _compare_storage(self) -> None:
        loaded = storage.types_by_key(self._optimizer.state.values())
        for key, types in self._types_in_checkpoint.items():
            if key != "step" and key in loaded and loaded[key] != types:
                self._warn_once(
                    f"load_state_dict changed the type of {key} from {types} to {loaded[key]}: "
                    "torch casts the state to the type of the weights"
                )

    # --- failures ---

    def _contained(self, part: str, doing: str, function: Callable[[], None]) -> bool:
        """Run something that must not end training; return whether it succeeded."""
        if part in self._disabled:
            return False
        try:
            if torch.is_inference_mode_enabled():
                with _lasting_tensors():
                    function()
            else:
                function()
            return True
        except Exception as error:
            if self._shared is not None and part in (_STEPS, _RECORDS, _NORMS):
                self._shared.add(
                    Trouble(
                        part,
                        f"failed while {doing} at step {self._step} "
                        f"({type(error).__name__}: {error})",
                        error,
                        error.parameter if isinstance(error, CaptureError) else "",
                        _is_out_of_memory(error),
                    )
                )
                _free_memory(error)  # it is kept until the others have been told
                return False
            if self._raises:
                self._enabled = False
                raise
            what = f"failed while {doing} at step {self._step} ({type(error).__name__}: {error})"
            outcome = self._go_on(part, error)
            parameter = getattr(error, "parameter", "")
            self._warn_once(f"{what}; {outcome}", f"{part}: {outcome} {parameter}")
            return False

    def _go_on(self, part: str, error: Exception) -> str:
        """Disable as little as possible, and say what."""
        with contextlib.suppress(Exception):
            if part == _RECORDS and _is_out_of_memory(error):
                _free_memory(error)
                if self._records.shrink():
                    return "from now on fewer elements of each parameter are read"
            elif (
                part == _RECORDS
                and isinstance(error, CaptureError)
                and self._records.exclude(error.parameter)
            ):
                self._follow_parameters()
                return "that parameter is recorded no more, the others are"
        if part == _WRITING and isinstance(error, OSError):
            self._failed_writes += 1
            if self._failed_writes < _FAILED_WRITES:
                return "training goes on, and so do attempts to write"
        if part in (_RECORDS, _NORMS, _LOADING, _DIAGNOSIS, _GAIN, _STALE):
            self._disabled.add(part)
            if part == _RECORDS:
                self._records.release()
            self._step_is_first &= part != _RECORDS  # no need to catch up on a record
            return f"{part} {_LEFT_OUT}"
        if self._shared is not None:
            self._shared.stops = True  # the others are told with the next step
        else:
            self._enabled = False
        return _ENDED

    def _flush(self) -> None:
        self._write()
        self._recorder.log.flush()

    def _warn_once(self, message: str, kind: str | None = None) -> None:
        """Warn, once for each message, or for each kind of them."""
        kind = kind or message
        if kind in self._warned:
            return
        self._warned.add(kind)
        if self._in_training:
            _warn_without_raising(message)
        else:
            warnings.warn(f"Adam Debug: {message}", stacklevel=2)

    @staticmethod
    def _refuse_second_callback(optimizer: Optimizer) -> None:
        other = _WATCHING.get(optimizer, _nobody)()
        if other is not None:
            raise ValueError(
                f"optimizer is watched by another AdamDebugCallback, which writes to "
                f"{other._recorder.log.location}: close() that one before"
            )


@contextlib.contextmanager
def _lasting_tensors() -> Iterator[None]:
    """Let tensors be made that can be written to later, whatever mode the training is in.

    One made under ``torch.inference_mode()`` can be written to in that mode alone.
    """
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def _is_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
            return True
        # The CPU has no exception of its own for it.
        if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
            return True
        error = error.__cause__
    return False


def _free_memory(error: BaseException | None) -> None:
    """Drop the tensors that the calls which failed still hold."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__


def _warn_without_raising(message: str) -> None:
    try:
        warnings.warn(f"Adam Debug: {message}", stacklevel=3)
    except Warning:
        # Warnings are errors here, and this one must not end training.
        logging.getLogger(__name__).warning("Adam Debug: %s", message)


def _as_list(model: object) -> Any:
    """Keep the items of an iterable; what is none is reported where the names are read."""
    return list(model) if isinstance(model, Iterable) else model


def _nobody() -> None:
    return None


def _close(recorder: Recorder) -> None:
    """At exit, or when nobody has the callback any more: too late to raise."""
    try:
        recorder.close()
    except Exception as error:
        _warn_without_raising(f"the last records were lost: {error}")
