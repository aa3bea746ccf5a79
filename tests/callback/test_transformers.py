"""The callback for the Trainer of transformers, in trainings by the Trainer itself.

It records the same as the plain callback does for the same training written as a loop.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_run import read_run
from same_records import assert_same_records, trained
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from tb_adam_plugin import run_data
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.transformers import AdamDebugTrainerCallback

transformers: Any = importlib.import_module("transformers")

# Warnings of newer versions of torch to the Trainer and Accelerate.
pytestmark = [
    pytest.mark.filterwarnings(rf"ignore::{category}:{package}.*")
    for category in ("UserWarning", "DeprecationWarning", "FutureWarning")
    for package in ("transformers", "accelerate")
]

BATCHES, BATCH_SIZE, EPOCHS = 8, 4, 2
Batches = list[dict[str, Tensor]]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        outputs = self.layers(inputs)
        return {"loss": mse_loss(outputs, labels), "outputs": outputs}


def examples() -> list[dict[str, Tensor]]:
    torch.manual_seed(1)
    inputs = torch.randn(BATCHES * BATCH_SIZE, 6)
    return [{"inputs": x, "labels": x[:2].sin()} for x in inputs]


def make_optimizers(model: nn.Module) -> tuple[Any, Any]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)


def make_trainer(
    folder: Path,
    *callbacks: Any,
    seen: Batches | None = None,
    kind: Any = None,
    optimizers: Any = make_optimizers,
    **options: Any,
) -> Any:
    """Make a Trainer, which notes the batches that it makes in ``seen``."""
    options = {
        "use_cpu": True, "report_to": "none", "save_strategy": "no", "disable_tqdm": True,
        "per_device_train_batch_size": BATCH_SIZE, "num_train_epochs": EPOCHS,
        "max_grad_norm": 0.1, "logging_steps": 5, **options,
    }  # fmt: skip

    def collate(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        if seen is not None:
            seen.append(batch)
        return batch

    if hasattr(transformers.TrainingArguments, "logging_dir"):  # of versions before 5
        options.setdefault("logging_dir", str(folder))
    model = Network()
    return (kind or transformers.Trainer)(
        model=model,
        args=transformers.TrainingArguments(str(folder), **options),
        train_dataset=examples(),
        eval_dataset=examples(),
        data_collator=collate,
        optimizers=optimizers(model),
        callbacks=list(callbacks),
    )


def adam_debug(**options: Any) -> AdamDebugTrainerCallback:
    return AdamDebugTrainerCallback(**{"every_n_steps": 2, "on_error": "raise", **options})


def plain_loop(folder: Path, batches: Batches, accumulated: int, precision: str) -> Any:
    model = Network()
    optimizer, scheduler = make_optimizers(model)
    with AdamDebugCallback(
        model, optimizer, log_dir=folder, every_n_steps=2, on_error="raise"
    ) as debug:
        for first in range(0, len(batches), accumulated):
            losses = []
            for batch in batches[first : first + accumulated]:
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    losses.append(model(**batch)["loss"].float() / accumulated)
                losses[-1].backward()
            debug.record(loss=sum(loss.detach() for loss in losses))
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            debug.record(gradient_norm_before_clip=norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return trained(model, optimizer)


@pytest.mark.parametrize(("precision", "accumulated"), [("fp32", 1), ("fp32", 4), ("bf16", 2)])
def test_records_what_a_plain_loop_does(tmp_path: Path, precision: str, accumulated: int) -> None:
    """With a schedule and clipping. With fp16 the Trainer computes in float32 on a CPU."""
    options: dict[str, Any] = {"bf16": precision == "bf16"}

    def train(folder: Path, *callbacks: Any, seen: Batches | None = None) -> Any:
        trainer = make_trainer(
            folder, *callbacks, seen=seen, gradient_accumulation_steps=accumulated, **options
        )
        trainer.train()
        return trained(trainer.model, trainer.optimizer.optimizer), torch.get_rng_state().tolist()

    seen: Batches = []
    with_callback = train(tmp_path / "trainer", adam_debug(), seen=seen)
    assert with_callback == train(tmp_path / "without")
    plain = plain_loop(tmp_path / "plain", seen, accumulated, precision)
    assert with_callback[0] == plain
    run = assert_same_records(tmp_path / "trainer", tmp_path / "plain")
    assert len(run.steps) == EPOCHS * BATCHES // accumulated


def test_the_loss_is_that_of_the_trainer_not_of_the_model(tmp_path: Path) -> None:
    """Every step's loss, with evaluations in between, whose losses do not belong to a step."""
    losses = []

    class Weighted(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            outputs = model(**inputs)
            loss = 3 * outputs["loss"]
            if model.training:
                losses.append(loss.item())
            return (loss, outputs) if True in (kwargs.get("return_outputs"), *args) else loss

    trainer = make_trainer(
        tmp_path / "output", adam_debug(), kind=Weighted, report_to="tensorboard", eval_steps=3
    )
    trainer.args.eval_strategy = transformers.IntervalStrategy.STEPS
    trainer.train()
    (folder,) = {path.parent.parent for path in tmp_path.rglob("adam_debug/events*")}
    steps = read_run(folder).steps
    assert [row["loss"] for row in steps.values()] == pytest.approx(losses, rel=1e-6)
    assert len(losses) == EPOCHS * BATCHES
    # Beside the Trainer's own scalars, as one run.
    assert list(folder.glob("events.out.tfevents.*"))
    (run,) = run_data.load_runs(tmp_path)
    assert run.name == folder.relative_to(tmp_path).as_posix()
    assert "training_step" not in vars(trainer)
    assert "clip_grad_norm_" not in vars(trainer.accelerator)


def test_what_reinforcement_learning_minimises_is_a_surrogate(tmp_path: Path) -> None:
    """The trainers of trl have their own argument classes; their objective does not measure
    progress.
    """
    trainer = make_trainer(tmp_path, AdamDebugTrainerCallback(log_dir=tmp_path / "run"))
    trainer.args.__class__ = type("GRPOConfig", (transformers.TrainingArguments,), {})
    trainer.train()
    (run,) = run_data.load_runs(tmp_path / "run")
    assert "surrogate_loss" in run.every_step().names
    assert "loss" not in run.every_step().names


@pytest.mark.parametrize("where", ["log_dir", "writer", "environment", "output_dir"])
def test_where_the_run_is_written(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    callbacks: list[Any] = [adam_debug()]
    options: dict[str, Any] = {"max_steps": 1}
    if where == "environment":
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / where))
    if where == "log_dir":
        callbacks = [adam_debug(log_dir=tmp_path / where)]
    if where == "writer":  # of a callback that comes after ours
        writer = SummaryWriter(str(tmp_path / where))
        callbacks.append(transformers.integrations.TensorBoardCallback(writer))
    output_dir = tmp_path / "output_dir"
    trainer = make_trainer(output_dir, *callbacks, **options)
    if hasattr(trainer.args, "logging_dir"):  # of versions before 5
        trainer.args.logging_dir = str(tmp_path / where)
    trainer.train()
    assert sorted(read_run(tmp_path / where).steps) == [1]


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_a_resumed_run_goes_on(tmp_path: Path, optimizer: str) -> None:
    """SGD has no state that counts the steps: the Trainer knows them."""

    def make(model: nn.Module) -> tuple[Any, Any]:
        made = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-2)
        return made, torch.optim.lr_scheduler.ExponentialLR(made, 0.9)

    def train(folder: Path, *callbacks: Any, **options: Any) -> Any:
        trainer = make_trainer(folder, *callbacks, optimizers=make, **options)
        trainer.train(resume_from_checkpoint=options.pop("max_steps", None) is None)
        return trainer

    options = {"save_strategy": "steps", "save_steps": 6, "save_total_limit": 1}
    folder = tmp_path / "run"
    train(folder, adam_debug(), max_steps=6, **options)
    resumed = train(folder, adam_debug(), **options)
    whole = make_trainer(tmp_path / "whole", adam_debug(), optimizers=make)
    whole.train()
    assert trained(resumed.model) == trained(whole.model)
    run, expected = read_run(folder), read_run(tmp_path / "whole")
    assert sorted(run.steps) == sorted(expected.steps) == list(range(1, EPOCHS * BATCHES + 1))
    losses = [row["loss"] for row in run.steps.values()]
    assert losses == [row["loss"] for row in expected.steps.values()]
    assert sorted(run.statistics) == sorted({*expected.statistics, 7})


def test_a_training_that_raised_can_be_started_again(tmp_path: Path) -> None:
    class Failing(transformers.Trainer):  # type: ignore[misc]
        fails = True

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            if self.fails and self.state.global_step == 3:
                raise KeyError("bad batch")
            return super().training_step(*args, **kwargs)

    callback = adam_debug()
    trainer = make_trainer(tmp_path, callback, kind=Failing)
    with pytest.raises(KeyError):
        trainer.train()
    assert callback.debug is not None
    trainer.fails = False
    trainer.train()
    assert callback.debug is None
    assert "training_step" not in vars(trainer)
    # The Trainer goes on with the optimizer that it has.
    assert sorted(read_run(tmp_path).steps) == list(range(1, 3 + EPOCHS * BATCHES + 1))


def test_options_are_those_of_the_callback(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="every_n_step'"):
        AdamDebugTrainerCallback(every_n_step=3)
    callback = AdamDebugTrainerCallback(every_n_steps=1000)
    make_trainer(tmp_path, callback, max_steps=13).train()
    assert max(read_run(tmp_path).statistics) == 13  # the last step, which the Trainer knows
