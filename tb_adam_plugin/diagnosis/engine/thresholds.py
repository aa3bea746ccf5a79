"""Numbers shared by several files: rules, their derived values, and the callback.

A threshold of a single rule is in the rule's file.

"Points" are consecutive windows of :data:`WINDOW_STEPS`, or steps if the value is known at every
step; "steps" are optimizer steps. The values reached by healthy runs are given where measured.
"""

from __future__ import annotations

# Records within this many steps count as one, wherever consecutive records are counted: thresholds
# were tuned on runs in which every fifth step was recorded.
WINDOW_STEPS = 5
# A run whose first record is later was resumed: nothing is said about its start.
FIRST_STEP = 1
# Moments are only averages after a while, and after the warm-up.
LEAST_GRACE = 20.0
FIRST_LOSSES = 5
# A first loss below this is near 0, and the relative increase of the loss says nothing.
LEAST_FIRST_LOSS = 0.05
# The first loss of a resumed run is unknown: it is assumed to be at least this.
USUAL_FIRST_LOSS = 1.0
# A weight whose RMS times √fan-in is initially below this was meant to start at zero.
ZERO_START = 0.05
# A lasting condition must not be a matter of a few steps.
LASTING_STEPS = 20.0
LOSS_AVERAGE_STEPS = 10
# If the loss is above this multiple of the first one, rules about a stagnating loss do not apply.
LOSS_GREW = 1.1
# Statements about a learning rate refer to records with at least this share of its peak.
NEAR_PEAK = 0.5
# Stretches of one rule that are closer than this share of the run are one finding.
MERGE_SHARE = 0.1
# A rule that fires more often than this is reported as one finding.
MOST_FINDINGS_OF_A_RULE = 3
# Number of points of a stretch that are included in a finding, in addition to the worst one.
MOST_POINTS_SHOWN = 24
# Updates are summed over this many steps, up to the second number after the warm-up; the third is
# the number of steps over which their loss is averaged.
PATH_STEPS = 10
EARLY_STEPS = 40.0
EARLY_LOSS_STEPS = 5
# Smoothed loss relative to the first losses.
BLOWUP_FACTOR = 1.5
BLOWUP_MARGIN = 0.5
# This share of the averaged losses must be as high, too: one of them may be an outlier.
BLOWUP_SHARE = 0.5
# The gain ratio is judged by its median over this many windows that have it.
GAIN_RATIO_WINDOWS = 10
# Gradient relative to √v̂ before the step: below it training is done, not slow.
FADED_SURPRISE = 0.4
# Learning rate relative to its peak: a schedule has ended.
DECAYED_TO = 0.01
# Gradient norm relative to the median of the previous steps, on a logarithmic scale: this many
# robust standard deviations, each at least SPIKE_LEAST_DEVIATION, and at least SPIKE_LEAST_FACTOR.
SPIKE_WINDOW = 50
SPIKE_DEVIATIONS = 8.0
SPIKE_LEAST_DEVIATION = 0.05
SPIKE_LEAST_FACTOR = 8.0
# A lower beta2, which forgets a burst of large gradients sooner.
BETA2_FORGETS = 0.95
# Share of elements with √v̂ below ε, and below 10 ε. Healthy: up to 0.23 below ε.
SHARE_BELOW_EPS = 0.5
# Weight decay relative to the update. Healthy: up to 0.4.
STRONG_DECAY_RATIO = 0.6
# If no more than this share of the loss is left, training is done.
CONVERGED_LOSS_SHARE = 0.02
# Below this share of the first loss, it has clearly fallen.
PLATEAU_LOSS_SHARE = 0.9
# Within this factor of the best learning rate is about right.
ABOUT_RIGHT = 2.5
