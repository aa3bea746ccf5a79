"""Whether a subclass takes the steps that the formula of its known base class gives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema

from .base import OptimizerState

# Rounding of a weight may differ by so much of the update before anything else is looked for.
_MOST_ROUNDING = 0.01
# Of the update: RMS of what happened minus what the formula asks for.
_MOST_ERROR = 0.05
# So many records in a row, because a subclass may take another step now and then.
_RECORDS = 2
# Where a step of before has arrived by so much, half precision does not lose all of another one.
_MOST_LOST = 0.3
# All of a step is not lost unless it is shorter than one that has arrived by more than this.
_LEAST_OF_ARRIVED = 0.02
# A step of two parts, as with weight decay, is rounded twice.
_ROUNDINGS = 2
# Half of what is between a weight and the next one, of the weight at most.
_EPSILON = {"float32": 2.0**-24, "float64": 2.0**-53}
_NAMES = [statistic.name for statistic in schema.STATISTICS]
_ERROR, _RATIO, _LOST, _LARGEST = map(
    _NAMES.index,
    (
        "update_rounding_error",
        "update_to_weight_ratio",
        "lost_update_fraction",
        "weight_absmax",
    ),
)
_OF_FORMULA = [i for i, statistic in enumerate(schema.STATISTICS) if "update" in statistic.needs]


class FormulaFit:
    """Leaves out what follows from a formula where the measured updates are other ones."""

    def __init__(self, state: OptimizerState, *, is_alone: bool) -> None:
        """Look at no record yet.

        Args:
            state: Whose ``update_is_known`` becomes False, with a notice, where its formula does
                not fit.
            is_alone: Whether no other process records the same training: they would have to agree,
                and so records are changed there, but not the state.
        """
        self._state = state
        self._is_alone = is_alone
        self._misfits = self._left_out = 0
        self._least_lost = np.inf
        self._arrived = np.zeros(0)  # requests of the step that lost least
        self._lr_before: list[float | None] = []

    def before_step(self) -> None:
        """Note the learning rates that the step begins with."""
        if self._state.reads_as and self._state.update_is_known:
            self._lr_before = self._learning_rates()

    def check(
        self,
        statistics: npt.NDArray[np.float32],
        layout: schema.Layout,
        requested_rms: npt.NDArray[np.float64],
    ) -> None:
        """Look at a record, and make NaN of what does not fit.

        Args:
            statistics: float32 ``[parameters, len(schema.STATISTICS)]``, changed in place.
            layout: Of them.
            requested_rms: Of the changes that the formula asks for, float64 ``[parameters]``.
        """
        state = self._state
        if not state.reads_as or not state.update_is_known:
            return
        if self._leaves_out_step(statistics, layout, requested_rms):
            statistics[:, _OF_FORMULA] = np.nan
            self._left_out += 1
            if self._left_out == _RECORDS and self._is_alone:
                state.notice = (
                    f"{type(state.optimizer).__name__} leaves out steps: at {_RECORDS} recorded "
                    f"steps it moved no weight at all, where {state.reads_as} would. Records of "
                    "such steps are without what would follow from the formula "
                    f"({', '.join(_NAMES[i] for i in _OF_FORMULA)})"
                )
            return
        error = self._typical_error(statistics, layout)
        if np.isnan(error):
            return
        if error <= _MOST_ERROR:
            self._misfits = 0
            return
        statistics[:, _OF_FORMULA] = np.nan
        if self._lr_before != self._learning_rates():
            return  # nobody knows with which of them it moved the weights
        self._misfits += 1
        if self._misfits == _RECORDS and self._is_alone:
            own = type(state.optimizer).__name__
            state.update_is_known = False
            state.notice = (
                f"{own} does not move the weights as {state.reads_as} would: its updates "
                f"differ by {100 * error:.0f} % from those that {state.reads_as}'s formula gives. "
                f"Recorded is what was measured, without what would follow from the formula "
                f"({', '.join(_NAMES[i] for i in _OF_FORMULA)})"
            )

    def _leaves_out_step(
        self,
        statistics: npt.NDArray[np.float32],
        layout: schema.Layout,
        requested_rms: npt.NDArray[np.float64],
    ) -> bool:
        """Whether nothing has moved, although the formula asks for it and rounding can't be why."""
        asked_for = np.isfinite(statistics[:, _ERROR])
        if not asked_for.any():
            return False
        if (statistics[asked_for, _RATIO] != 0).any():
            lost = float(np.median(statistics[asked_for, _LOST]))
            if lost < self._least_lost:
                self._least_lost, self._arrived = lost, requested_rms
            return False
        # The largest request is at least their RMS, and no weight is further from the next one than
        # the largest: at least one request is too long to be lost.
        epsilon = np.array([_EPSILON.get(p.dtype, np.inf) for p in layout.parameters])
        least = _ROUNDINGS * epsilon * statistics[:, _LARGEST]
        if (asked_for & (requested_rms > least)).any():
            return True
        arrived = self._arrived
        return (
            self._least_lost < _MOST_LOST
            and arrived.shape == requested_rms.shape
            and bool((asked_for & (requested_rms > _LEAST_OF_ARRIVED * arrived)).any())
        )

    def _learning_rates(self) -> list[float | None]:
        """Of each group; None for a tensor, which may lie on a device."""
        rates = [group.get("lr") for group in self._state.optimizer.param_groups]
        return [float(lr) if isinstance(lr, int | float) else None for lr in rates]

    @staticmethod
    def _typical_error(statistics: npt.NDArray[np.float32], layout: schema.Layout) -> float:
        """Median over the parameters whose weights are stored exactly enough; NaN without any."""
        epsilon = np.array([_EPSILON.get(p.dtype, np.inf) for p in layout.parameters])
        error, ratio = statistics[:, _ERROR], statistics[:, _RATIO]
        with np.errstate(divide="ignore", invalid="ignore"):
            is_exact = (epsilon / ratio < _MOST_ROUNDING) & np.isfinite(error)
        return float(np.median(error[is_exact])) if is_exact.any() else float("nan")
