"""In which tasks a fault can be planted."""

from __future__ import annotations

from faults.tasks.task import Task


def has_relu_layer(task: Task) -> bool:
    return task.relu_layer is not None


def is_deep(task: Task) -> bool:
    return task.deep_sigmoid is not None


def trains_in_float16(task: Task) -> bool:
    return task.float16


def is_without_norm(task: Task) -> bool:
    """Without layers that undo the scale of inputs or weights."""
    return task.name in _WITHOUT_NORM


_WITHOUT_NORM = {
    "mlp", "cnn", "deep_relu_mlp", "regression", "autoencoder", "deep_tanh_mlp", "dropout_cnn",
    "dropout_mlp", "coordinate_network", "convolutional_autoencoder", "signal_cnn", "deep_sets",
    "robot_arm", "spirals",
}  # fmt: skip
