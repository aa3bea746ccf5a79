"""Numbers that several files share: rules, what is computed for them, and the callback.

What one rule alone compares with stands in its file.

"Points" are windows of :data:`WINDOW_STEPS` in a row, or steps where something is known of every
step; "steps" are optimizer steps. What healthy runs reach is said where it was measured.
"""

from __future__ import annotations

# Records within so many steps count as one, wherever records in a row are counted: thresholds were
# found on runs of which every fifth step was recorded.
WINDOW_STEPS = 5
# A run whose first record is later was resumed: nothing is said about its start.
FIRST_STEP = 1
# Moments are averages of something only after a while, and after the warm-up.
LEAST_GRACE = 20.0
FIRST_LOSSES = 5
# A first loss below this is near 0, and how much higher the loss becomes says nothing.
LEAST_FIRST_LOSS = 0.05
# The first loss of a run that was resumed is not known: it is taken to be at least this.
USUAL_FIRST_LOSS = 1.0
# A weight whose RMS times √fan-in is first below this was meant to start at zero.
ZERO_START = 0.05
# What has to last must not be a matter of a few steps.
LASTING_STEPS = 20.0
LOSS_AVERAGE_STEPS = 10
# Of a loss above so many times the first one nothing is said that is about one that stands still.
LOSS_GREW = 1.1
# What is said of a learning rate is said of where it is at least this share of its peak.
NEAR_PEAK = 0.5
# Stretches of one rule that are closer than this share of the run are one finding.
MERGE_SHARE = 0.1
# A rule that fires more often than this is one finding.
MOST_FINDINGS_OF_A_RULE = 3
# So many points of a stretch are handed out with a finding, and its worst one.
MOST_POINTS_SHOWN = 24
# What updates add up to is looked at over so many steps, up to so many after the warm-up, and the
# loss of these as a mean of so many.
PATH_STEPS = 10
EARLY_STEPS = 40.0
EARLY_LOSS_STEPS = 5
# Smoothed loss against the first losses.
BLOWUP_FACTOR = 1.5
BLOWUP_MARGIN = 0.5
# That share of the averaged losses has to be so high, too: one of them may be an outlier.
BLOWUP_SHARE = 0.5
# The gain ratio is looked at as the median of so many windows that have it.
GAIN_RATIO_WINDOWS = 10
# Gradient against √v̂ before the step: below it training is done, not slow.
FADED_SURPRISE = 0.4
# Learning rate against its peak: a schedule has ended.
DECAYED_TO = 0.01
# Gradient norm against the median of the steps before, on a logarithmic scale: so many robust
# standard deviations, each at least SPIKE_LEAST_DEVIATION, and at least SPIKE_LEAST_FACTOR.
SPIKE_WINDOW = 50
SPIKE_DEVIATIONS = 8.0
SPIKE_LEAST_DEVIATION = 0.05
SPIKE_LEAST_FACTOR = 8.0
# A lower beta2 that forgets a burst of large gradients sooner.
BETA2_FORGETS = 0.95
# Share of elements with √v̂ below ε, and below 10 ε. Healthy: up to 0.23 below ε.
SHARE_BELOW_EPS = 0.5
# Weight decay against the update. Healthy: up to 0.4.
STRONG_DECAY_RATIO = 0.6
# Of the loss so little is left that training is done.
CONVERGED_LOSS_SHARE = 0.02
# Below this share of the first loss it has clearly fallen.
PLATEAU_LOSS_SHARE = 0.9
# Within this factor of the best learning rate is about right.
ABOUT_RIGHT = 2.5
