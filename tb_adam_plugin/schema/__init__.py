"""The wire format: what the training side writes and the plugin reads. NumPy only.

Every summary belongs to plugin ``adam_debug`` and holds one little-endian tensor. The first
summary of a tag in an event file carries a JSON *content* that describes the tensor's rows and
columns, so a reader needs nothing else:

=========================================  ==============================  =====================
tag                                        tensor of one event             content
=========================================  ==============================  =====================
``adam_debug/statistics/<layout>``         float32 [parameters, statistics]  :class:`Layout`
``adam_debug/hyperparameters/<layout>``    float64 [groups, columns]       :class:`Columns`
``adam_debug/histograms/<layout>/<i>``     uint8 [bytes], one block        :class:`HistogramSource`
``adam_debug/steps/<columns>``             float64 [steps, columns]        :class:`Columns`
``adam_debug/gradient_norms/<columns>``    float64 [steps, 1 + parameters]   :class:`Columns`
=========================================  ==============================  =====================

``<layout>`` and ``<columns>`` are short hashes of the content itself. A change during the run (an
unfrozen layer, a new scalar) therefore starts a new tag and never changes the meaning of an old
one. The event's step is the optimizer step; for ``steps`` it is the step of the last row.

Readers sort by step and use the last of several equal steps: restarts overlap.
"""

from tb_adam_plugin.schema.blocks import (
    MOST_PARAMETERS_PER_BLOCK,
    SparseHistograms,
    decode_histograms,
    encode_histograms,
)
from tb_adam_plugin.schema.catalogue import (
    STATISTIC_BY_NAME,
    STATISTICS,
    Need,
    Statistic,
)
from tb_adam_plugin.schema.columns import (
    HYPERPARAMETERS,
    LOSS,
    OPTIONAL_STEP_COLUMNS,
    STEP_COLUMNS,
    SURROGATE_LOSS,
    UNCHARTED_STEP_COLUMNS,
    Columns,
    HistogramSource,
)
from tb_adam_plugin.schema.content import (
    VERSION,
    FormatError,
    NewerVersionError,
    short_hash,
)
from tb_adam_plugin.schema.folders import (
    PART_FOLDER,
    RUN_FOLDER,
    FolderName,
    batch_file,
    numbered_folder,
    part_of,
)
from tb_adam_plugin.schema.layout import (
    REPLACED,
    Group,
    Layout,
    Option,
    Parameter,
    Unoptimized,
)
from tb_adam_plugin.schema.limits import (
    LASTING_COLUMNS,
    LONGEST_SCALAR_NAME,
    MOST_LAYOUTS,
    MOST_SCALARS,
)
from tb_adam_plugin.schema.quantities import (
    BINS,
    BINS_PER_OCTAVE,
    OPTIONAL_QUANTITIES,
    QUANTITIES,
    SPECIAL,
    Counts,
    Quantity,
    bin_edges,
    count_values,
    state_quantity,
)
from tb_adam_plugin.schema.tags import (
    PLUGIN_NAME,
    WRITER,
    Kind,
    Tag,
    parse_tag,
)
from tb_adam_plugin.schema.tensors import (
    TaggedTensor,
    gradient_norms_tensor,
    histogram_tensors,
    hyperparameters_tensor,
    statistics_tensor,
    steps_tensor,
)

__all__ = [
    "BINS",
    "BINS_PER_OCTAVE",
    "HYPERPARAMETERS",
    "LASTING_COLUMNS",
    "LONGEST_SCALAR_NAME",
    "LOSS",
    "MOST_LAYOUTS",
    "MOST_PARAMETERS_PER_BLOCK",
    "MOST_SCALARS",
    "OPTIONAL_QUANTITIES",
    "OPTIONAL_STEP_COLUMNS",
    "PART_FOLDER",
    "PLUGIN_NAME",
    "QUANTITIES",
    "REPLACED",
    "RUN_FOLDER",
    "SPECIAL",
    "STATISTICS",
    "STATISTIC_BY_NAME",
    "STEP_COLUMNS",
    "SURROGATE_LOSS",
    "UNCHARTED_STEP_COLUMNS",
    "VERSION",
    "WRITER",
    "Columns",
    "Counts",
    "FolderName",
    "FormatError",
    "Group",
    "HistogramSource",
    "Kind",
    "Layout",
    "Need",
    "NewerVersionError",
    "Option",
    "Parameter",
    "Quantity",
    "SparseHistograms",
    "Statistic",
    "Tag",
    "TaggedTensor",
    "Unoptimized",
    "batch_file",
    "bin_edges",
    "count_values",
    "decode_histograms",
    "encode_histograms",
    "gradient_norms_tensor",
    "histogram_tensors",
    "hyperparameters_tensor",
    "numbered_folder",
    "parse_tag",
    "part_of",
    "short_hash",
    "state_quantity",
    "statistics_tensor",
    "steps_tensor",
]
