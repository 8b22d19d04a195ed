"""Callbacks that are not of this project: which of them act in a loop of one endless epoch, by players that take turns.

Training here has no validation, one epoch, several optimizers that the model steps itself, and no metrics but those of
`Evaluate`. Lightning's own callbacks that wait for anything else would never act, or fail at the end of the budget.
"""

import re
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch import callbacks as lightning
from lightning.pytorch.utilities import rank_zero_only

PREVENTED: dict[type, str] = {  # Lightning's, and what serves instead
    lightning.EarlyStopping: "callbacks.evaluate.patience=3 ends a run that no longer betters",
    lightning.ModelCheckpoint: (
        "best.ckpt and last.ckpt are kept anyway, callbacks.checkpoints.every= says how often, and "
        "callbacks.checkpoints.keep_every= keeps more"
    ),
    lightning.LearningRateMonitor: "the log has each player's rate, as D/lr and G/lr",
    lightning.LearningRateFinder: "set model.lr.D= and model.lr.G=, or try some: -m model.lr.G=1e-4,2e-4",
    lightning.BatchSizeFinder: "set data.batch_size=",
    lightning.GradientAccumulationScheduler: "raise data.batch_size=, shared among more processes (trainer.devices=)",
    lightning.StochasticWeightAveraging: "the generator is averaged already: model.ema_half_life=",
    lightning.WeightAveraging: "the generator is averaged already: model.ema_half_life=",
    lightning.BaseFinetuning: "model.lr.D=0 keeps a player as it is",
    lightning.ModelPruning: "prune the generator after training, of zoo.load(RUN)",
    lightning.SpikeDetection: "every turn's objective is held to be finite anyway; model.clip_norm= and skip_d_above=",
    lightning.ProgressBar: "callbacks.progress is the bar, in images",
}
HOOKS = {name for name in vars(L.Callback) if re.match("on_(?!save|load)", name)}
NEVER = re.compile("on_(sanity_check|validation|test|predict|before_zero_grad)")  # of hooks that are never called


def hold_to_the_loop(callbacks: Mapping[str, Any]) -> None:
    """Refuse callbacks, by their names in `callbacks`, that would never act; say of those for epochs that there is one.

    Raises:
        ValueError: naming the callback, why it would never act, and what serves instead.
    """
    for name, callback in callbacks.items():
        kind = type(callback)
        if not isinstance(callback, L.Callback):
            raise ValueError(f"callbacks.{name} is a {kind.__name__}, which is no lightning.Callback: leave it out")
        if kind.__module__.startswith("zoo."):
            continue
        for base, remedy in PREVENTED.items():
            if isinstance(callback, base):
                raise ValueError(
                    f"callbacks.{name}, {kind.__name__}, can't act in a game of one endless epoch without validation: "
                    f"leave it out; {remedy}"
                )
        if isinstance(callback, lightning.Timer) and callback._interval == "epoch":
            raise ValueError(f"callbacks.{name} looks at the time after epochs, and there is one: give interval: step")
        own = {hook for hook in HOOKS if hook in vars(callback) or getattr(kind, hook) is not getattr(L.Callback, hook)}
        acting = {hook for hook in own if not NEVER.match(hook)}
        if own and not acting:
            raise ValueError(
                f"callbacks.{name} acts in {' and '.join(sorted(own))} alone, which never comes: a game has no "
                "validation; use on_train_batch_end, or zoo.run.callbacks.evaluate.AfterEvaluation"
            )
        if acting and all("train_epoch" in hook for hook in acting):
            said = f"callbacks.{name} acts by epochs, and a run is one: count images in on_train_batch_end instead"
            rank_zero_only(print)(said, flush=True)
