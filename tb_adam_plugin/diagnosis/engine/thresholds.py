"""Every number that decides whether a rule fires.

They are read as ``thresholds.NAME`` when a rule is applied, so that they can be tuned here alone.

"Points" are windows of :data:`WINDOW_STEPS` in a row, or steps where something is known of every
step; "steps" are optimizer steps. What healthy runs reach is said where it was measured.
"""

from __future__ import annotations

# --- shared -------------------------------------------------------------------------------------

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

# --- learning rate ------------------------------------------------------------------------------

# The learning rate of a step against that of the step before, and against the highest so far.
LR_JUMP = 5.0
LR_JUMP_ABOVE_PEAK = 1.5
# What the median update-to-weight ratio of the matrices adds up to over so many steps, in the first
# ones. Healthy: up to 2 (a bag of words, at the highest learning rate of its scan), with Adamax up
# to 3.4. A learning rate 30 to 100 times too high: from 0.4, in two of three runs from 2.2.
LR_TOO_HIGH_PATH = 2.2
LR_TOO_HIGH_PATH_STEPS = 10
LR_TOO_HIGH_STEPS = 40.0
# Of an optimizer whose denominator only grows.
LR_TOO_HIGH_PATH_SHRINKING = 8.0
# From this share of it on the rule asks. Healthy: up to it in about nine runs of ten.
LR_TOO_HIGH_ASKS = 0.36
# If the loss rose to so many times the first one (mean of so many steps) and stayed above it, this
# share is enough, which no healthy run had where the loss did so.
LR_TOO_HIGH_ROSE = 0.2
LR_TOO_HIGH_LOSS = 1.5
LR_TOO_HIGH_LOSS_STEPS = 5
# In trials 0.09 was seen at 3 times the best learning rate, 0.33 at 10 times, 0.68 at 100 times.
LR_FAR_TOO_HIGH_RATIO = 0.25
LR_TOO_HIGH_TARGET_RATIO = 0.06
LR_TOO_HIGH_FACTORS = (3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)
# Smoothed loss against the first losses.
LOSS_BLOWUP_FACTOR = 1.5
LOSS_BLOWUP_MARGIN = 0.5
LOSS_BLOWUP_POINTS = 10
# That share of the averaged losses has to be so high, too: one of them may be an outlier.
LOSS_BLOWUP_SHARE = 0.5
# It is an alarm where it ends at so many times the first losses, or where something else says that
# training went wrong: weights that grew to so many times their first size, say. Healthy: by up to
# 2.6. In reinforcement and adversarial training a loss may grow while training goes well.
LOSS_GREW_FAR = 10.0
LOSS_GREW_WEIGHTS = 3.0
# By so large a share of the first loss it has to fall before it is said to have fallen.
LOSS_FELL = 0.02
# Change of the loss against what the gradient promised, median of the last windows that have it.
# At the best learning rate 0.84 (80 % of runs: 0.71 to 0.92), 0.68 at 3 times that, 0.59 at 10.
GAIN_RATIO_LOW = 0.4
GAIN_RATIO_WINDOWS = 10
GAIN_RATIO_POINTS = 3
# Cosine of exp_avg and the next gradient: 0 at the best learning rate, 0.22 at a tenth of it, 0.78
# at a hundredth (medians of 17 tasks).
LR_TOO_LOW_COSINE = 0.35
LR_TOO_LOW_RATIO = 2e-3
# Without a first moment: the ratio, and the loss against the first one. RMSprop, healthy: from
# 4.2e-3; a hundredth of the learning rate: up to 1.1e-4.
LR_TOO_LOW_RATIO_ALONE = 5e-4
LR_TOO_LOW_LOSS_SHARE = 0.8
LR_TOO_LOW_SURPRISE = 0.4
LR_TOO_LOW_POINTS = 8
LR_TOO_LOW_START_SHARE = 0.1
LR_FAR_TOO_LOW_COSINE = 0.7
# No longer steps than these are advised.
LR_TOO_LOW_MOST_RATIO = 1e-2
# A warm-up takes 2/(1 - beta2) steps, or so large a share of the run.
WARMUP_SHARE = 0.1
LEAST_WARMUP = 5.0
# A warm-up that goes on for so large a share of the run is said to, from so many steps on where it
# is not known how many there will be.
WARMUP_NOT_OVER_SHARE = 0.5
WARMUP_NOT_OVER_STEPS = 100
# Learning rate against its peak, for so large a share of the run.
LR_DECAYED_TO = 0.01
LR_DECAYED_SHARE = 0.3
LR_DECAYED_POINTS = 5
# A learning rate that drops at most at every second step, so many times, is that of StepLR. One
# whose factors from step to step differ by so small a share of the drop is that of ExponentialLR.
STEP_LR_DROPS = 2
STEP_LR_STANDS = 2.0
EXPONENTIAL_LR_SPREAD = 0.01

# What a gradient adds to exp_avg is halved after 34 and 138 steps. Healthy: up to 0.95.
BETA1_TOO_HIGH_ASKS = 0.98
BETA1_TOO_HIGH = 0.995

# A learning rate of 0 at so many steps is no first step of a warm-up.
LR_ZERO_STEPS = 3

# --- gradients ----------------------------------------------------------------------------------

NO_GRADIENT_POINTS = 3
# Norm of what .grad held before the first backward pass of a step, against that of the gradient.
# Healthy: 0. Of a gradient that was clipped to a fiftieth a fiftieth is left.
STALE_GRADIENT_RATIO = 0.01
STALE_GRADIENT_STEPS = 3
# Where that was not recorded: cosine of exp_avg and the next gradient, and gradient norm against
# the first ones.
STALE_GRADIENT_COSINE = 0.9
STALE_GRADIENT_GROWTH = 3.0
STALE_GRADIENT_POINTS = 5
# Relative change of the loss for a relative change of a weight. Healthy: up to 226.
GRADIENT_SCALE_ELASTICITY = 5e3
GRADIENT_SCALE_POINTS = 3
# Steps that a gradient scaler left out, of so many that were taken and those. It tries a larger
# scale every 2,000 steps, which costs one.
SKIPPED_WINDOW = 50
SKIPPED_SHARE = 0.1
SKIPPED_MOST = 0.5
# Gradient norm against the median of the steps before, on a logarithmic scale: so many robust
# standard deviations, each at least SPIKE_LEAST_DEVIATION, and at least SPIKE_LEAST_FACTOR.
SPIKE_WINDOW = 50
SPIKE_DEVIATIONS = 8.0
SPIKE_LEAST_DEVIATION = 0.05
SPIKE_LEAST_FACTOR = 8.0
# Gradient against √v̂ before the step, in any matrix. Healthy: up to 11; planted spikes: from 65.
SPIKE_SURPRISE = 15.0
# The median loss after a spike, without the first third of so many steps, against that of as many
# before it: the spike did harm.
SPIKE_HARM_STEPS = 30.0
SPIKE_HARM_FACTOR = 1.2
SPIKE_HARM_MARGIN = 0.05
# Share of the last steps that were clipped, and the median factor that clipping applied.
CLIP_WINDOW = 50
CLIP_SHARE = 0.95
CLIP_COEFFICIENT = 0.1
CLIP_POINTS = 20
# Median share of elements in which eps is felt: below it an optimizer that divides by √v̂ does not
# mind the scale of the gradients.
CLIP_EPS_FELT = 0.2
# Gradient norms of so many steps that differ by less than this share are one norm.
CLIP_CONSTANT_SPREAD = 1e-3
# Elasticity of the first weight against the last one, in decades, and rank correlation with depth.
# Healthy: up to 1.8 for so many points but in two runs; sigmoids all the way: from 2.2.
VANISHING_DECADES = 1.8
VANISHING_CORRELATION = 0.85
VANISHING_LEAST_WEIGHTS = 4
# The largest step from a weight to the next one, as a share of all decades: where one weight alone
# stands apart, as the output matrix of a language model while it learns the frequencies of words,
# nothing vanishes layer by layer. Sigmoids all the way, median of the records: up to 0.43;
# language models: from 0.66.
VANISHING_LARGEST_STEP = 0.55
# The loss where it ends, against the first one: below it training goes on all the same. Sigmoids
# all the way: from 0.91; healthy: up to 0.62, of LSTMs, in whose first layers gradients grow by and
# by.
VANISHING_LOSS_SHARE = 0.8
VANISHING_POINTS = 4
NOISE_COSINE = 0.2
# The mean loss of the last quarter of the steps against that of their second fifth falls by less
# than this. Healthy: by 2.1 % and more in 274 of 275 runs; random labels: by up to 0.9 % in five of
# six. The frequencies of random labels are learned early.
NOISE_FALL = 0.015
NOISE_LOSS_SHARE = 0.3
NOISE_RATIO = 1e-4
NOISE_START_SHARE = 0.4
NOISE_AVERAGE_WINDOWS = 10
NOISE_POINTS = 8
WITHOUT_GRADIENT_POINTS = 3

# --- second moment ------------------------------------------------------------------------------

# Change of log √v̂ from step to step. Healthy: up to 0.07; β2 = 0.5 and less: 0.33 and more.
BETA2_TOO_LOW_FLICKER = 0.2
BETA2_TOO_LOW_POINTS = 5
# A higher beta2 does not flicker by itself: there something else is wrong.
BETA2_TOO_LOW_AT_MOST = 0.9
# A lower beta2 that forgets a burst of large gradients sooner.
BETA2_FORGETS = 0.95
EPS_LEAST = 1e-12
# Share of elements with √v̂ below ε, and below 10 ε. Healthy: up to 0.23 below ε.
EPS_DOMINATES_FRACTION = 0.5
EPS_POINTS = 5
# Without bias correction v is too small at first: √v is 0.6 of what it will be after this share of
# 1/(1 - alpha) steps.
EPS_UNCORRECTED_SHARE = 0.5
UNDERFLOW_FRACTION = 0.05
UNDERFLOW_POINTS = 3
FROZEN_FRACTION = 0.5
FROZEN_POINTS = 5
# Gradient against √v̂ before the step: v remembers gradients that are long gone.
STALE_SURPRISE = 0.1
STALE_POINTS = 5
# Half of float16's smallest number: an ε below it becomes 0.
FLOAT16_SMALLEST_EPS = 2.0**-25
# Cosine of exp_avg and gradient right after a state's first step is 1.
RESET_COSINE = 0.999
RESET_SHARE = 0.5

# --- weights ------------------------------------------------------------------------------------

# RMS of the first weights times √fan-in. PyTorch's default is 0.58, Xavier 1, He 1.41.
INIT_TOO_SMALL = 0.1
# Median elasticity of the first step, from which on signals arrive all the same, as in networks of
# sines. Weights that are too small: up to 5e-5; healthy: from 0.03; sines: 1.4.
INIT_ARRIVES = 0.01
# Weights above this that train are asked about. Harmed: up to 0.02.
INIT_MAY_TRAIN = 0.03
INIT_TOO_LARGE = 2.0
# As large language models begin, 0.02, whatever the fan-in: not too large by itself.
INIT_USUAL_STD = 0.03
# Largest weight against the RMS: above it the weights were trained before.
INIT_LARGEST_OF_UNTRAINED = 6.5
# Share of the requested changes that rounding loses. Healthy, in float32: up to 0.28, where a
# schedule ends; harmed, in half precision: from 0.33.
LOST_UPDATES_FRACTION = 0.5
LOST_UPDATES_FRACTION_HALF = 0.3
LOST_UPDATES_POINTS = 5
# As many elements without a gradient, as dead units leave, account for that many lost updates.
LOST_UPDATES_ZERO_GRADIENTS = 0.5
# Weight decay against the update. Healthy: up to 0.4.
WEIGHT_DECAY_RATIO = 0.6
WEIGHT_DECAY_POINTS = 5
WEIGHT_DECAY_COSINE = 0.85
WEIGHT_DECAY_TARGET_RATIO = 0.1
WEIGHT_DECAY_MOST_FACTOR = 1e4
# lr · weight_decay, of which each step takes so much of a weight: above it the sign changes, above
# twice that the weight grows.
WEIGHT_DECAY_OVERSHOOTS = 1.0
WEIGHT_DECAY_USUAL = (0.01, 0.1)
# Update-to-weight ratio of a weight against the median of all. Healthy: up to 7.6 with Adam and its
# kin, 16 with SGD, which does not adapt; a thousandth of the learning rate: from 500.
IMBALANCE_FACTOR = 30.0
IMBALANCE_POINTS = 3
IMBALANCE_LEAST_WEIGHTS = 3
# Share of rows without any gradient, and the margin for layers of few rows, over √rows: one and a
# half standard deviations of a share. Healthy networks with ReLU: up to 0.5 of 48, and 8 of 12.
DEAD_UNITS_FRACTION = 0.55
DEAD_UNITS_MARGIN = 0.75
DEAD_UNITS_POINTS = 8
# An alarm. Healthy: up to 0.81, without harm, as networks of three quarters of dead units train.
DEAD_UNITS_MOST = 0.9
ALL_DEAD = 0.999
RARE_ROWS_FRACTION = 0.8
RARE_ROWS_POINTS = 5
# What weight decay has taken from a row that never has a gradient, Σ lr · weight_decay: at the
# defaults of AdamW after 20,000 steps. Healthy: 6 of 802 runs, half of them by decay that passes
# through the moments.
RARE_ROWS_DECAY = 0.2

# --- progress -----------------------------------------------------------------------------------

CONVERGED_SURPRISE = 0.1
CONVERGED_LOSS_SHARE = 0.02
CONVERGED_POINTS = 5
PLATEAU_LOSS_SHARE = 0.9
PLATEAU_START_SHARE = 0.5
PLATEAU_POINTS = 8
BIMODAL_SHARE = 0.3
# Below it an update is nearly m / |g|: of gradients without any direction in common 0.17 of the
# elements are near 1 at beta2 = 0.5 without a first moment, 0.27 at 0.3, and all of them at 0.
BIMODAL_LEAST_BETA2 = 0.5
BIMODAL_POINTS = 8

# --- learning-rate compass ----------------------------------------------------------------------

# Median cosine of exp_avg and the next gradient at the end of runs with a learning rate so many
# times the usual one: Adam, AdamW, AMSGrad and NAdam on the tasks of the laboratory's tuning half.
# Above the best one it says nothing more. Near the medians, and such that most readings are within
# half a decade.
COMPASS_TASKS = 26
COMPASS_COSINES = (0.0, 0.04, 0.12, 0.25, 0.58, 0.88)
COMPASS_FACTORS = (1.0, 1 / 2, 1 / 3, 1 / 10, 1 / 30, 1 / 100)
# What the update-to-weight ratio adds up to in the first steps, as for "too high", likewise. Where
# that is asked about, it says 2.5 at least, and counts if the loss rose in these steps to so many
# times the first one (mean of five). Healthy, where so much adds up: up to 1.03.
COMPASS_LOSS_ROSE = 1.1
COMPASS_PATHS = (0.45, 1.3, 2.8, 6.2)
COMPASS_PATH_FACTORS = (1.0, 10.0, 30.0, 100.0)
# Gain ratio, likewise, of 17 other tasks. Further off it differs too little from run to run. More
# than this is the promise of a gradient that was clipped, or a coarse loss.
COMPASS_GAIN_RATIOS = (0.59, 0.68, 0.84, 0.93, 0.966)
COMPASS_GAIN_FACTORS = (10.0, 3.0, 1.0, 1 / 3, 1 / 10)
COMPASS_GAIN_MOST = 1.1
# Within this factor of the best one is about right.
COMPASS_ABOUT = 2.5
COMPASS_WINDOWS = 9
# What the update-to-weight ratio has to be for a reading of "about right", and how far the weights
# may have grown by then. Healthy: 8e-4 to 1.2e-2, and by up to 2.6.
COMPASS_RATIOS = (7e-4, 1.2e-2)
COMPASS_GROWTH = 3.0
# For "f times too low" it has to be below so much over the root of f: where gradients agree, a step
# is longer for the same learning rate. 100 times too low: up to 3.4e-4.
COMPASS_RATIO_TOO_LOW = 5e-3
# Points of the history of a block.
COMPASS_COLUMNS = 24
