"""Adapters of optimizers from packages that are not imported here, by module and class name."""

from __future__ import annotations

from .adabelief import AdaBeliefState
from .ademamix import AdEMAMixState
from .adopt import AdoptState
from .base import OptimizerState
from .bitsandbytes import (
    BitsandbytesAdamState,
    BitsandbytesAdEMAMixState,
    BitsandbytesLionState,
)
from .fused_adam import ApexFusedAdamState, DeepSpeedCPUAdamState, DeepSpeedFusedAdamState
from .lamb import LambState
from .lion import LionState, TimmLionState
from .prodigy import ProdigyState
from .schedule_free import ScheduleFreeState
from .soap import SoapState
from .sophia import SophiaState
from .timm import AdamWLegacyState
from .torchao import TorchaoAdamState
from .transformers_adafactor import TransformersAdafactorState

_BITSANDBYTES: dict[str, type[OptimizerState]] = {
    f"bitsandbytes.optim.{module}.{paged}{name}{bits}": adapter
    for module, name, adapter in (
        ("adam", "Adam", BitsandbytesAdamState),
        ("adamw", "AdamW", BitsandbytesAdamState),
        ("lion", "Lion", BitsandbytesLionState),
        ("ademamix", "AdEMAMix", BitsandbytesAdEMAMixState),
    )
    for paged in ("", "Paged")
    for bits in ("", "8bit", "32bit")
    # The package has no working AdEMAMix32bit: its state lacks the slow average.
    if (name, bits) != ("AdEMAMix", "32bit")
}

BY_NAME: dict[str, type[OptimizerState]] = {
    **_BITSANDBYTES,
    "apex.optimizers.fused_adam.FusedAdam": ApexFusedAdamState,
    "deepspeed.ops.adam.cpu_adam.DeepSpeedCPUAdam": DeepSpeedCPUAdamState,
    "deepspeed.ops.adam.fused_adam.FusedAdam": DeepSpeedFusedAdamState,
    "pytorch_optimizer.optimizer.adabelief.AdaBelief": AdaBeliefState,
    "pytorch_optimizer.optimizer.ademamix.AdEMAMix": AdEMAMixState,
    "pytorch_optimizer.optimizer.adopt.ADOPT": AdoptState,
    "pytorch_optimizer.optimizer.lamb.Lamb": LambState,
    "pytorch_optimizer.optimizer.lion.Lion": LionState,
    "pytorch_optimizer.optimizer.prodigy.Prodigy": ProdigyState,
    "pytorch_optimizer.optimizer.schedulefree.ScheduleFreeAdamW": ScheduleFreeState,
    "pytorch_optimizer.optimizer.soap.SOAP": SoapState,
    "pytorch_optimizer.optimizer.sophia.SophiaH": SophiaState,
    "timm.optim.adamw.AdamWLegacy": AdamWLegacyState,
    "timm.optim.lion.Lion": TimmLionState,
    # The base class of Adam8bit, AdamW4bit, AdamWFp8 and others.
    "torchao.optim.adam._AdamBase": TorchaoAdamState,
    "transformers.optimization.Adafactor": TransformersAdafactorState,
}
