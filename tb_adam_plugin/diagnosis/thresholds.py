"""Every number that decides whether a rule fires.

They are read as ``thresholds.NAME`` when a rule is applied, so that they can be tuned here alone.

"Points" are records in a row, "steps" optimizer steps. What healthy runs reach is said where it was
measured.
"""

from __future__ import annotations

# --- shared -------------------------------------------------------------------------------------

# A run whose first record is later was resumed: nothing is said about its start.
FIRST_STEP = 1
# Moments are averages of something only after a while, and after the warm-up.
LEAST_GRACE = 20.0
FIRST_LOSSES = 5
LOSS_AVERAGE_STEPS = 10
# Stretches of one rule that are closer than this share of the run are one finding.
MERGE_SHARE = 0.1
# A rule that fires more often than this is one finding.
MOST_FINDINGS_OF_A_RULE = 3

# --- learning rate ------------------------------------------------------------------------------

# The learning rate of a step against that of the step before, and against the highest so far.
LR_JUMP = 5.0
LR_JUMP_ABOVE_PEAK = 1.5
# Median update-to-weight ratio of the matrices in the first steps. Healthy: up to 0.09.
LR_TOO_HIGH_RATIO = 0.1
LR_TOO_HIGH_STEPS = 40.0
LR_TOO_HIGH_POINTS = 3
# At this ratio the learning rate was about 30 times the best one in trials, at the first 3 times.
LR_FAR_TOO_HIGH_RATIO = 0.25
# Smoothed loss against the first losses.
LOSS_BLOWUP_FACTOR = 1.5
LOSS_BLOWUP_MARGIN = 0.5
LOSS_BLOWUP_POINTS = 10
# Cosine of exp_avg and the next gradient: 0 at the best learning rate, 0.22 at a tenth of it, 0.78
# at a hundredth (medians of 17 tasks).
LR_TOO_LOW_COSINE = 0.35
LR_TOO_LOW_RATIO = 2e-3
LR_TOO_LOW_SURPRISE = 0.4
LR_TOO_LOW_POINTS = 8
LR_TOO_LOW_START_SHARE = 0.1
LR_FAR_TOO_LOW_COSINE = 0.7
# Learning rate against its peak, for so large a share of the run.
LR_DECAYED_TO = 0.01
LR_DECAYED_SHARE = 0.3
LR_DECAYED_POINTS = 5

# --- gradients ----------------------------------------------------------------------------------

NO_GRADIENT_POINTS = 3
