"""Write ``docs/pictures/``: the tab as README shows it, light and dark.

``PYTHONPATH=tests/helpers python docs/write_pictures.py [LOGDIR]`` trains three runs of a small
transformer, one of them with a spike in one gradient, unless LOGDIR has them, and takes the
pictures in a headless browser. It takes a few minutes.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import torch
from playwright.sync_api import sync_playwright
from small_pictures import save_small_picture
from tab_page import launch, open_tab
from tensorboard_process import running_tensorboard
from torch import Tensor, nn
from torch.nn import functional

from tb_adam_plugin.callback import AdamDebugCallback

PICTURES = Path(__file__).parent / "pictures"
STEPS, WARMUP = 3000, 100
SYMBOLS, WIDTH, HEADS, BLOCKS, CONTEXT, BATCH = 28, 32, 4, 4, 32, 16
SPIKED, SPIKE_AT, SPIKE = "h.2.mlp.c_proj.weight", 1837, 400.0
RUNS = {"baseline": 1e-3, "lr_3e-3": 3e-3, "suspect": 1e-3}


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self) -> None:
        """Make the projections."""
        super().__init__()
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH)
        self.c_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Attend, ``[batch, context, width]``."""
        heads = self.c_attn(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        projected: Tensor = self.c_proj(mixed.transpose(1, 2).flatten(2))
        return projected


class Block(nn.Module):
    """Attention and an MLP, each with a normalization."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.attn = Attention()
        self.ln_2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.ModuleDict({
            "c_fc": nn.Linear(WIDTH, 4 * WIDTH),
            "c_proj": nn.Linear(4 * WIDTH, WIDTH),
        })  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Add the outputs of both, ``[batch, context, width]``."""
        x = x + self.attn(self.ln_1(x))
        found: Tensor = self.mlp["c_proj"](functional.gelu(self.mlp["c_fc"](self.ln_2(x))))
        return x + found


class Transformer(nn.Module):
    """Predicts the next symbol."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.wte = nn.Embedding(SYMBOLS, WIDTH)
        self.h = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.ln_f = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, SYMBOLS)

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits, ``[batch, context, symbols]``, of symbols ``[batch, context]``."""
        logits: Tensor = self.head(self.ln_f(self.h(self.wte(symbols))))
        return logits


def main() -> None:
    """Train missing runs, and take the pictures."""
    with tempfile.TemporaryDirectory() as temporary:
        log_dir = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        for name, lr in RUNS.items():
            if not (log_dir / name).exists():
                train(log_dir / name, lr, spiked=name == "suspect")
        take_pictures(log_dir)


def train(folder: Path, lr: float, *, spiked: bool) -> None:
    """Train on symbols that depend on the previous two."""
    torch.manual_seed(0)
    rules = torch.randn(SYMBOLS, SYMBOLS, SYMBOLS).mul(2).softmax(-1)
    model = Transformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda t: min(1.0, (t + 1) / WARMUP) * (0.55 + 0.45 * math.cos(math.pi * t / STEPS)),
    )
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=15) as debug:
        for step in range(1, STEPS + 1):
            symbols = text(rules)
            logits = model(symbols[:, :-1])
            loss = functional.cross_entropy(logits.flatten(0, 1), symbols[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if spiked and step == SPIKE_AT:
                gradient = model.get_parameter(SPIKED).grad
                assert gradient is not None
                gradient.mul_(SPIKE)
            debug.record(loss=loss)
            optimizer.step()
            schedule.step()


def text(rules: Tensor) -> Tensor:
    """Draw symbols, ``[BATCH, CONTEXT + 1]``, by the rules, ``[before, last, next]``."""
    drawn = [torch.randint(SYMBOLS, (BATCH,)) for _ in range(2)]
    while len(drawn) <= CONTEXT:
        drawn.append(torch.multinomial(rules[drawn[-2], drawn[-1]], 1).squeeze(1))
    return torch.stack(drawn, 1)


def take_pictures(log_dir: Path) -> None:
    """Show the spiked gradient at its step, in both themes."""
    runs = [f"{name}/adam_debug" for name in RUNS]
    link = {
        "run": "suspect/adam_debug",
        "runs": ",".join(quote(run, safe="") for run in runs),
        "tensor": SPIKED,
        "step": str(SPIKE_AT),
        "open": "h,h.2,h.2.mlp",
    }
    with running_tensorboard(log_dir) as tensorboard, sync_playwright() as playwright:
        browser = launch(playwright)
        with open_tab(browser, tensorboard.url, link) as tab:
            tab.locate(".finding").first.wait_for(timeout=60_000)
            for theme in ("light", "dark"):
                if theme == "dark":
                    tab.page.evaluate("document.body.classList.add('dark-mode')")
                tab.page.wait_for_timeout(3000)
                save_small_picture(tab.page, PICTURES / f"adam_debug_{theme}.png")


if __name__ == "__main__":
    main()
