"""Log folders of any size, with numbers that wander randomly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema
from tb_adam_plugin.callback.attach.watched_parameters import PARAMETERS_PER_BLOCK
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.schema import Columns, Group, Layout, Parameter

START = 1_767_225_600.0  # wall time of step 0
COLUMNS = Columns((*schema.STEP_COLUMNS, "loss"))
_SAMPLED_ELEMENTS = 16_384
_DIFFERENT_HISTOGRAMS = 8


def transformer_layout(parameters: int) -> Layout:
    """The names of a transformer, eight tensors per layer."""
    parts = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.up", "mlp.down", "ln_1", "ln_2")
    return _layout(
        {f"layers.{i // 8}.{parts[i % 8]}.weight": (512, 512) for i in range(parameters)}
    )


def decoder_layout() -> Layout:
    """A decoder of 70.6 billion parameters in 723 tensors, of the sizes of Llama 3 70B.

    Source: Grattafiori et al. 2024, The Llama 3 Herd of Models, table 3: 80 layers, width 8192,
    feed-forward 28,672, 64 heads of which 8 are key and value heads, 128,256 tokens.
    """
    width, hidden, of_keys, tokens = 8192, 28_672, 1024, 128_256
    layer = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (of_keys, width),
        "self_attn.v_proj": (of_keys, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (hidden, width),
        "mlp.up_proj": (hidden, width),
        "mlp.down_proj": (width, hidden),
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
    }
    return _layout(
        {
            "model.embed_tokens.weight": (tokens, width),
            **{
                f"model.layers.{i}.{name}.weight": shape
                for i in range(80)
                for name, shape in layer.items()
            },
            "model.norm.weight": (width,),
            "lm_head.weight": (tokens, width),
        }
    )


def write_run(
    folder: Path, layout: Layout, steps: int, histogram_every: int, seed: int, first: int = 1
) -> None:
    """Write statistics that wander at every step, and histograms of normal values.

    Args:
        folder: Folder of the run.
        layout: Its layout.
        steps: The last step; all are logged.
        histogram_every: Interval between histograms.
        seed: Determines how the numbers wander.
        first: The first step; more than 1 if a run continues, in another file.
    """
    random = np.random.default_rng(seed)
    shape = (len(layout.parameters), len(layout.statistics))
    histograms = [
        schema.histogram_tensors(layout, _normal_counts(layout, random))
        for _ in range(_DIFFERENT_HISTOGRAMS)
    ]
    hyperparameters = np.array([[1e-3, 0.9, 0.999, 1e-8, 0.1]])

    state = random.normal(-7, 1, shape)
    log = EventLog(folder)
    for step in range(first, steps + 1):
        state += random.normal(0, 0.05, shape)
        row = [step, START + step, 1.0, 1e-3, 0.5, 0.0, 0.0, 1.0, 5 / step**0.5]
        tensors = [
            schema.statistics_tensor(layout, np.exp(state).astype(np.float32)),
            schema.hyperparameters_tensor(layout, hyperparameters),
            schema.steps_tensor(COLUMNS, np.array([row])),
        ]
        if step % histogram_every == 0:
            tensors += histograms[step // histogram_every % _DIFFERENT_HISTOGRAMS]
        log.write(step, START + step, tensors)
    log.close()


def _layout(shapes: dict[str, tuple[int, ...]]) -> Layout:
    return Layout(
        tuple(
            Parameter(name, shape, "float32", min(math.prod(shape), _SAMPLED_ELEMENTS), 0)
            for name, shape in shapes.items()
        ),
        (Group("AdamW", {"amsgrad": False}),),
        tuple(s.name for s in schema.STATISTICS),
        schema.QUANTITIES,
        parameters_per_block=PARAMETERS_PER_BLOCK,
    )


def _normal_counts(layout: Layout, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Histograms of normal values, with a separate scale for each parameter and quantity."""
    parameters = len(layout.parameters)
    counts = np.zeros(
        (parameters, len(layout.quantities), schema.BINS + len(schema.SPECIAL)), np.int64
    )
    for p in range(parameters):
        values = random.normal(0, 1, 4096)
        for q, quantity in enumerate(layout.quantities):
            scaled = values * np.exp(random.normal(-7, 2))
            if not quantity.signed:
                scaled = scaled**2
            counts[p, q] = 4 * schema.count_values(scaled.astype(np.float32), quantity)
    return counts
