"""One of several processes.

Run as a script, this is one of several processes: ``distributed_worker.py RANK RANKS FOLDER``. It
runs all cases of that number of processes; each leaves its recording in FOLDER, and a JSON file per
rank with its warnings and results.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from distributed_cases import (
    ADAMW,
    GIVEN,
    STEPS,
    TRAININGS,
    Training,
    backward,
    both_ways,
    delay_by,
    fsdp2,
    given_gradients,
    hybrid,
    make_model,
    one_axis,
)
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.optimizer_state.adam import AdamState
from tb_adam_plugin.callback.schedule import overhead
from tb_adam_plugin.callback.schedule.intervals import Schedule


class Worker:
    """One process."""

    def __init__(self, rank: int, ranks: int, folder: Path) -> None:
        self.rank, self.ranks, self.folder = rank, ranks, folder
        self.found: dict[str, dict[str, Any]] = {}

    def case(self, name: str, run: Callable[[Path], dict[str, Any] | None]) -> None:
        """Run one case, and keep its warnings."""
        start = time.monotonic()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = run(self.folder / name) or {}
        found["warnings"] = [
            str(w.message) for w in caught if str(w.message).startswith("Adam Debug")
        ]
        found["seconds"] = time.monotonic() - start
        self.found[name] = found
        if dist.is_initialized():
            dist.barrier()

    def sharded(self, name: str, training: str, make: Callable[[], nn.Module]) -> None:
        """A training of shards whose records must equal those of a single process."""

        def run(folder: Path) -> dict[str, Any]:
            model = make()
            t = TRAININGS[training]
            debug = t.run(model, t.optimizer(model.parameters()), folder)
            return _collectives(debug)

        self.case(name, run)

    def unchanged(self, folder: Path) -> dict[str, Any]:
        """Training leaves the same bits with and without the callback."""
        left = []
        for where in (None, folder):
            model = fsdp2()
            optimizer = ADAMW.optimizer(model.parameters())
            torch.manual_seed(5)
            ADAMW.run(model, optimizer, where)
            state = [
                value
                for p in model.parameters()
                for value in (p, p.grad, *optimizer.state[p].values())
            ]
            left.append(_digest([*state, torch.get_rng_state()]))
        return {"is_unchanged": left[0] == left[1]}

    def data_parallel(self, folder: Path) -> dict[str, Any]:
        model = nn.parallel.DistributedDataParallel(make_model())
        ADAMW.run(model, ADAMW.optimizer(model.parameters()), folder)
        return {}

    def unwrapped(self, folder: Path) -> None:
        """The callback gets the wrapped module, and does not see the wrapper."""
        model = make_model()
        wrapped = nn.parallel.DistributedDataParallel(model)
        ADAMW.run(wrapped, ADAMW.optimizer(model.parameters()), folder, recorded=model)

    def zero_redundancy(self, folder: Path) -> dict[str, Any]:
        from torch.distributed.optim import ZeroRedundancyOptimizer

        model = nn.parallel.DistributedDataParallel(make_model())
        optimizer = ZeroRedundancyOptimizer(
            model.parameters(), optimizer_class=torch.optim.AdamW, lr=1e-2
        )
        ADAMW.run(model, optimizer, folder)
        return {"owned": sum(len(g["params"]) for g in optimizer.optim.param_groups)}

    def flat(self, folder: Path) -> dict[str, Any]:
        from torch.distributed.fsdp import FullyShardedDataParallel as Flat

        model = Flat(make_model(), use_orig_params=True, device_id=torch.device("cpu"))
        ADAMW.run(model, ADAMW.optimizer(model.parameters()), folder)
        return {"empty": sum(p.numel() == 0 for p in model.parameters())}

    def flattened(self, folder: Path) -> dict[str, Any]:
        from torch.distributed.fsdp import FullyShardedDataParallel as Flat

        model = Flat(make_model(), device_id=torch.device("cpu"))
        refusals = []
        cases: list[tuple[nn.Module, dict[str, Any]]] = [
            (model, {}),
            (make_model(), {"loss_closure": lambda: 0.0}),
        ]
        for parameters, options in cases:
            optimizer = ADAMW.optimizer(parameters.parameters())
            try:
                AdamDebugCallback(parameters, optimizer, log_dir=folder, **options)
            except ValueError as error:
                refusals.append(str(error))
        return {"refusals": refusals}

    def failing(
        self, part: str, at: int = 4, delay: int = 0, **options: Any
    ) -> Callable[[Path], dict[str, Any]]:
        """Something fails on the last rank only, at one step."""

        def run(folder: Path) -> dict[str, Any]:
            model = fsdp2()
            optimizer = ADAMW.optimizer(model.parameters())
            debug = AdamDebugCallback(
                model,
                optimizer,
                log_dir=folder,
                **{"every_n_steps": 1, "max_sampled_elements": 2048, **options},
            )
            delay_by(debug, delay)
            if self.rank == self.ranks - 1:
                parameters = debug._parameters
                state = _Failing(optimizer, part, at, model)
                parameters.state = parameters.records._state = state
                for measurement in parameters.records._measurements:
                    measurement._state = state
                if part == "schedule":
                    debug._agenda.schedule = _FailingSchedule(1)
            raised = ""
            try:
                for step in range(1, 9 + delay):
                    optimizer.zero_grad()
                    backward(model, step)
                    optimizer.step()
            except RuntimeError as error:
                raised = str(error)
            enabled = debug._agenda.enabled
            debug.close()
            return {"enabled": enabled, "raised": raised}

        return run

    def delayed(self, folder: Path) -> None:
        """Messages are received later, as on a device."""
        model = fsdp2()
        t = TRAININGS["jump"]
        t.run(model, t.optimizer(model.parameters()), folder, delay=4)

    def over_budget(self, folder: Path) -> dict[str, Any]:
        """Records take longer than allowed, as measured by the writing rank."""
        model = fsdp2()
        t = Training(options={"max_overhead": 1e-9})
        allowance, overhead.ALLOWANCE_SECONDS = overhead.ALLOWANCE_SECONDS, 0.0
        try:
            debug = t.run(model, t.optimizer(model.parameters()), folder)
        finally:
            overhead.ALLOWANCE_SECONDS = allowance
        return {"stretch": debug._agenda.stretch if debug else 0}

    def different_options(self, folder: Path) -> None:
        model = fsdp2()
        t = Training(options={"every_n_steps": 3 if self.rank else 5})
        t.run(model, t.optimizer(model.parameters()), folder)

    def different_parameters(self, folder: Path) -> None:
        model = fsdp2()
        parameters = list(model.parameters())[self.rank :]
        ADAMW.run(model, ADAMW.optimizer(parameters), folder)

    def full_disk(self, folder: Path) -> dict[str, Any]:
        """Only the writing rank meets it."""
        model = fsdp2()
        optimizer = ADAMW.optimizer(model.parameters())
        debug = AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=1)
        if self.rank == 0:

            def write(*_: object) -> None:
                raise OSError(28, "No space left on device")

            debug._output.recorder.log.write = write  # type: ignore[method-assign,assignment]
        for step in range(1, 16):
            optimizer.zero_grad()
            backward(model, step)
            optimizer.step()
        enabled = debug._agenda.enabled
        debug.close()
        return {"enabled": enabled}

    def pipeline(self, folder: Path) -> None:
        """Each process has its own layers."""
        torch.manual_seed(0)
        stages = [nn.Linear(8, 6), nn.Linear(6, 2)]
        stage = nn.ModuleDict({f"stage{self.rank}": stages[self.rank]})
        optimizer = torch.optim.AdamW(stage.parameters(), lr=1e-2)
        with AdamDebugCallback(stage, optimizer, log_dir=folder, every_n_steps=5) as debug:
            for step in range(1, STEPS + 1):
                optimizer.zero_grad()
                _stage_gradients(stage, step)
                debug.record(loss=1.0 / step)
                optimizer.step()

    def without_group(self, folder: Path) -> dict[str, Any]:
        """The process group is destroyed before training ends."""
        model = fsdp2()
        optimizer = GIVEN.optimizer(model.parameters())
        debug = AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=1)
        for step in range(1, 4):
            given_gradients(model, step)
            optimizer.step()
        gradients = [p.grad for p in model.parameters()]
        dist.barrier()
        dist.destroy_process_group()
        for _ in range(2):
            for p, gradient in zip(model.parameters(), gradients, strict=True):
                p.grad = gradient
            optimizer.step()
        enabled = debug._agenda.enabled
        debug.close()
        return {"enabled": enabled}

    def run_two(self) -> None:
        from torch.distributed.fsdp import MixedPrecisionPolicy

        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
        self.case("data parallel", self.data_parallel)
        self.case("unwrapped", self.unwrapped)
        for training in ("adamw", "foreach", "fused", "sgd", "given", "jump"):
            self.sharded(f"fsdp2 {training}", training, fsdp2)
        self.sharded("fsdp2 bfloat16", "adamw", lambda: fsdp2(mp_policy=policy))
        self.sharded("tensor parallel", "given", one_axis)
        self.case("unchanged", self.unchanged)
        self.case("zero redundancy", self.zero_redundancy)
        self.case("flat", self.flat)
        self.case("flattened", self.flattened)
        self.case("failing state", self.failing("state"))
        self.case("failing read", self.failing("read"))
        self.case("failing memory", self.failing("memory"))
        self.case("failing options", self.failing("options"))
        self.case("failing schedule", self.failing("schedule"))
        self.case("failing later", self.failing("schedule", delay=4))
        self.case("failing loudly", self.failing("state", on_error="raise"))
        self.case("delayed", self.delayed)
        self.case("over budget", self.over_budget)
        self.case("different options", self.different_options)
        self.case("different parameters", self.different_parameters)
        self.case("full disk", self.full_disk)
        self.case("pipeline", self.pipeline)

    def run_four(self) -> None:
        self.sharded("fsdp2 adamw", "adamw", fsdp2)
        self.sharded("fsdp2 exact", "exact", fsdp2)
        self.sharded("hybrid", "adamw", hybrid)
        self.sharded("both ways", "given", both_ways)
        self.sharded("tensor parallel", "given", one_axis)
        self.case("flat", self.flat)
        self.case("zero redundancy", self.zero_redundancy)


class _FailingSchedule(Schedule):
    """Fails at step 4."""

    def is_due(self, step: int, stretch: int = 1, start: int = 0) -> bool:
        if step == 4:
            raise RuntimeError("the schedule fails")
        return True


class _Failing(AdamState):
    """Fails at one step, in the requested way."""

    def __init__(self, optimizer: Any, part: str, at: int, model: nn.Module) -> None:
        super().__init__(optimizer)
        self._part, self._at, self._calls = part, at, 0
        self._parameter = next(p for n, p in model.named_parameters() if n == "wide.weight")

    def before_step(self) -> None:
        self._calls += 1
        if self._calls == self._at and self._part == "state":
            raise RuntimeError("the adapter fails")
        if self._calls == self._at and self._part == "memory":
            raise MemoryError

    def options(self, group: Any) -> Any:
        # Called at the start of each recorded step, before the state is read.
        if self._calls == self._at - 1 and self._part == "options":
            raise RuntimeError("the options cannot be read")
        return super().options(group)

    def state_of(self, parameter: Tensor, group: Any) -> Any:
        state = super().state_of(parameter, group)
        if self._part == "read" and self._calls >= self._at and parameter is self._parameter:
            from tb_adam_plugin.callback.read.tensor_reader import CaptureError

            raise CaptureError("wide.weight", RuntimeError("this one fails"))
        return state


def _stage_gradients(stage: nn.Module, step: int) -> None:
    for name, p in stage.named_parameters():
        generator = torch.Generator().manual_seed(step + len(name) + p.numel())
        p.grad = torch.randn(p.shape, generator=generator)


def _collectives(debug: AdamDebugCallback | None) -> dict[str, Any]:
    ranks = debug._placement.ranks if debug is not None else None
    return {} if ranks is None else {"collectives": ranks.collectives, "bytes": ranks.bytes}


def _digest(values: list[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        part = value.to_local() if hasattr(value, "to_local") else value
        digest.update(part.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def run_documented_program(folder: Path) -> None:
    """Run the program from the documentation, with the environment variables of a launcher."""
    page = Path(__file__).parents[2] / "docs/distributed.md"
    (program,) = re.findall(
        r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    here = Path.cwd()
    os.chdir(folder)
    exec(compile(program, str(page), "exec"), {})
    os.chdir(here)


def main(rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    if ranks == 2:
        run_documented_program(folder)
    dist.init_process_group(
        "gloo",
        rank=rank,
        world_size=ranks,
        init_method=f"file://{folder / f'rendezvous{ranks}'}",
        timeout=datetime.timedelta(seconds=60),
    )
    worker = Worker(rank, ranks, folder)
    worker.run_two() if ranks == 2 else worker.run_four()
    if ranks == 2:
        worker.case("without group", worker.without_group)
    else:
        dist.destroy_process_group()
    (folder / f"found{rank}.json").write_text(json.dumps(worker.found))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # without waiting for the others
