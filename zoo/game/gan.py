"""The base of every variant: players, turns, randomness and schedules. No maths of any paper.

A variant writes its networks, `players`, `training_step` (its paper's algorithm) and what its images are; see
zoo/model/dcgan.py and docs/extend.md. Optimizers, rates, clipping, skipping, averages, judging, the adaptation of
augmentation and the log are here, and act without a line in a variant.

Time is counted in images shown to the discriminator, over all ranks: Lightning's `global_step` counts every optimizer
step, that is every turn.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal, Self, Unpack

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized
from torch.optim import Optimizer

from zoo import torchfile
from zoo.batch import Preview
from zoo.game import losses, quirks
from zoo.game.abilities import FromLatents
from zoo.game.augment import Augment
from zoo.game.averages import EMA, evaluated
from zoo.game.finite import Diverged, Finite, can_hold
from zoo.game.freeze import freeze
from zoo.game.graph import StepGraph, make_capturable, refuse_decisions, refuse_place, set_rate
from zoo.game.log import Log
from zoo.game.regularizers import Discriminator, Regularizer
from zoo.game.schedule import BurnIn
from zoo.game.settings import Game, check_annotated, completed, decay, defaults
from zoo.game.state import of_every_rank, of_this_rank, random_states, restore_random_states
from zoo.game.strategy import TurnDDP, refuse_trainer
from zoo.game.turn import Minimize, Turn

OF_A_CRITIC = ("loss", "n_critic", "skip_d_above", "freeze_d", "regularizer", "augment")  # settings of the game
TOO_LARGE = 1e19  # of a weight: float32 has no room for its square


class GAN(L.LightningModule):
    """A game between players that take turns; the first of `players()` is the critic, D. A game of one player, whose
    objective needs nobody's judgement, has none.

        class DCGAN(GAN, FromLatents):
            def __init__(self, *, width: int, **game: Unpack[Game]) -> None:
                super().__init__(**game)
                self.G, self.D = Generator(width), Discriminator(width)
                self.G_ema = self.average(self.G)

    All arguments become hyperparameters (`save_hyperparameters`): a variant calls nothing for that. Those that are
    annotated with choices, `Literal[...]`, or with a range, such as `Count`, are held to it.

    Args:
        game: see `zoo.game.settings.Game`.

    Raises:
        ValueError: naming the setting that makes no sense, a variant's own ones included, and the remedy.
    """

    T: nn.Module  # augmentation of all that D sees; the identity unless `augment` is set
    rows: type[tuple] | None = None  # what it is trained on, of zoo.batch, where that is not what its abilities say
    aligned = False  # whether it is trained on pairs that show the same scene, pixel by pixel, and on no others
    retired: frozenset[str] = frozenset()  # hyperparameters that earlier checkpoints have, and that say nothing now

    def __init__(self, **game: Unpack[Game]) -> None:
        super().__init__()
        self.automatic_optimization = False
        for name in self.retired:
            game.pop(name, None)  # type: ignore[misc]
        self.game = completed(game)
        self.save_hyperparameters(ignore=list(self.retired))
        self.save_hyperparameters(dict(self.game))  # the defaults too
        check_annotated(type(self).__init__, self.hparams)
        self.loss = losses.named(self.game["loss"])
        regularizer, augment = self.game["regularizer"], self.game["augment"]
        self.regularizer = Regularizer(**regularizer) if regularizer else None
        self.T = Augment(**augment) if augment else nn.Identity()
        self.burn_in = BurnIn.of(self.game["burn_in"])
        self._refuse_burn_in_of_nothing()
        self.images = 0  # shown to the discriminator so far, over all ranks, the present batch included
        self.turns: dict[str, int] = {}  # each player's turns so far, the present one included
        self.lr_factor = 1.0  # on every learning rate, beside the schedule: lowered to recover from divergence
        self.run_log = Log()
        self.missing: frozenset[str] = frozenset()  # networks that its file lacks, and without which it makes no images
        self.config: dict[str, Any] = {}  # the run's settings as plain data: a checkpoint alone tells how it was made
        self._players: dict[str, Optimizer] = {}
        self._parameters_of: dict[str, list[tuple[str, nn.Parameter]]] = {}  # each player's, named
        self._averages: list[tuple[EMA, nn.Module]] = []  # and the networks that they follow
        self._stepping = False  # within `training_step`
        self._step_images = 0  # of this step, over all ranks
        self._averages_moved = False  # in this step
        self._made: list[Turn] = []  # the turns of this step
        self._turns_at_start: dict[str, int] = {}
        self._turn: Turn | None = None  # the present one
        self._finite = Finite()
        self._marks_steps = False  # for networks that are compiled into CUDA graphs
        self._captures = False  # whether steps are to be captured, once training starts
        self._graph: StepGraph | None = None
        self._resumed: dict[str, Any] | None = None  # what this rank goes on with, until training starts
        self._rates_before: dict[str, float] = {}  # of the run that is resumed, for its next step
        self._phase_before = ""  # of the run that is resumed
        self._rng: torch.Generator | None = None
        self._host_rng: torch.Generator | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the variant's `training_step` end as every step does, before any callback looks at the model."""
        super().__init_subclass__(**kwargs)
        algorithm = cls.training_step  # its own, or one that it inherits

        @wraps(algorithm)
        def training_step(self: GAN, batch: Any, batch_idx: int) -> None:
            if self._stepping:  # of another, whose step calls this one
                algorithm(self, batch, batch_idx)
                return
            self._stepping = True
            try:
                self._make_step(lambda batch: algorithm(self, batch, batch_idx), batch)
            finally:
                self._stepping = False
            self._end_step()

        cls.training_step = training_step  # type: ignore[method-assign, assignment]

    # What a variant writes ------------------------------------------------------------------------------------------

    def players(self) -> dict[str, list[nn.Module]]:
        """Each player's networks, the critic's first; one player alone is no critic."""
        raise NotImplementedError

    def preview(self, batch: Any) -> dict[str, Preview]:
        """The model's images beside real ones, from its best generator: all that metrics and sample grids ever see.

        Deterministic: image i depends on the batch's row i alone (on its `index`, for latents).
        """
        if isinstance(self, FromLatents):
            return self.preview_of_latents(batch)
        raise NotImplementedError

    def critique(self, batch: Any) -> dict[str, Tensor]:
        """Each discriminator's logits [N, ...] on the real images of a batch, as {"D": ...}; {} where none fits."""
        return {}

    def optimizer(self, player: str, parameters: list[nn.Parameter]) -> Optimizer:
        """The optimizer of a player: Adam, unless a paper has another."""
        lr, betas = self.game["lr"], self.game["betas"]
        if player not in lr:
            raise ValueError(f"model.lr has a rate for {', '.join(lr)}, but none for {player}: set model.lr.{player}=")
        return torch.optim.Adam(parameters, lr=lr[player], betas=(betas[0], betas[1]), fused=True)

    def lr_scale(self, player: str, images: int) -> float:
        """The factor on a player's learning rates after so many images: linear decay, unless a paper has another."""
        return decay(self.game, images)

    def rank_state(self) -> dict[str, Any]:
        """What each process keeps for itself beside its random states, as plain data: a history of images, say."""
        return {}

    def load_rank_state(self, state: dict[str, Any]) -> None:
        """Take up what `rank_state` gave on this rank, when a resumed run starts to train."""

    def phase_at(self, images: int) -> str:
        """What the batch that ends at `images` is trained on, where that changes within a run."""
        return ""

    def varies(self) -> str:
        """What makes one step other work than the next, and the remedy; "" where `training_step` decides nothing anew
        from step to step, so that one may be captured for all: see `zoo.game.graph`."""
        return f"{type(self).__name__} may decide anew in each: choose another model"

    @property
    def phase(self) -> str:
        """That of the present batch. Each phase has its best checkpoint."""
        return self.phase_at(self.images)

    @property
    def goal(self) -> str:
        """What the phase's images shall be: like real ones as a "distribution", or like targets, in "pixels" or in
        "perception" alone."""
        return "distribution"

    def refuse_gradient_penalty(self, remedy: str) -> None:
        """Raise a ValueError where a gradient penalty is set: for a D whose BatchNorm mixes the images of a batch."""
        if self.regularizer is not None and self.regularizer.gradient_penalty:
            sentence = "regularizer=gradient_penalty holds each image's gradient, and BatchNorm mixes the images: set "
            raise ValueError(sentence + remedy)

    # Turns ----------------------------------------------------------------------------------------------------------

    @property
    def critic(self) -> str | None:
        """The player whose turns are counted: the first one of several; None in a game of one player."""
        first, *others = self.players()
        return first if others else None

    def critics(self) -> list[nn.Module]:
        """The critic's networks; none in a game of one player."""
        first, *others = self.players().values()
        return first if others else []

    def due(self, player: str) -> bool:
        """Whether it is `player`'s turn: the critic's always, another's after each n_critic turns of the critic."""
        critic = self.critic
        return critic is None or player == critic or self.turns[critic] % self.game["n_critic"] == 0

    @contextmanager
    def turn(self, player: str) -> Iterator[Minimize]:
        """`player`'s turn: every other player is frozen, and `minimize(adversarial=..., r1=...)` makes its one step.

        The terms are the objective: summed, back-propagated, clipped, stepped, and logged as `D/adversarial`, `D/r1`.
        A critic that is too strong (skip_d_above) makes no step.

        Raises:
            ValueError: for an unknown player, one that is not due, a turn that does not minimise once, or one that
                forgets the game: to judge in the critic's turn, to use T or the penalties where they are set.

        Where the objective or its gradient is not finite on any rank, no step is made, and none after it: the next
        `training_step` raises `zoo.game.finite.Diverged`.
        """
        if player not in self._players:
            raise ValueError(f"there is no player {player!r}; the players are {', '.join(self._players)}")
        if not self.due(player):
            raise ValueError(
                f"it is not {player}'s turn after {self.turns[str(self.critic)]} turns of {self.critic} with n_critic="
                f"{self.game['n_critic']}: begin it with `if self.due({player!r}):`"
            )
        self.turns[player] += 1
        self._turn = turn = Turn(player, is_critic=player == self.critic)
        self._made.append(turn)
        T = self.T if isinstance(self.T, Augment) and self.T.active else None
        if T is not None:
            T.begin_turn(remember=self.regularizer is not None and self.regularizer.through)
        others = [p for name, named in self._parameters_of.items() if name != player for _, p in named]
        trainable = [p for p in others if p.requires_grad]
        for parameter in trainable:
            parameter.requires_grad_(False)
        try:
            yield partial(self._minimize, turn)
            turn.check(type(self).__name__, T, self.regularizer, paired=self.loss.paired)
        finally:
            self._turn = None
            if T is not None:
                T.end_turn()
            for parameter in trainable:
                parameter.requires_grad_(True)

    def judge(self, real: Tensor, fake: Tensor, *, of: str | None = None) -> tuple[Tensor, Tensor]:
        """Note what a discriminator thinks in the critic's turn; the logits come back as they are.

        Whether the critic skips its turn, how augmentation adapts, and the log depend on it.

        Args:
            real, fake: logits [N, ...].
            of: the discriminator's name in the log, where the critic has several; None: the player's.
        """
        if self._turn is None or not self._turn.is_critic:
            if self.critic is None:
                raise ValueError(f"{type(self).__name__} has one player, and so no critic to judge")
            raise ValueError(f"judge belongs into a turn of {self.critic}")
        self._turn.judgements[of or self._turn.player] = self.loss.judgement(real, fake)
        return real, fake

    def penalties(self, D: Discriminator, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The gradient penalties of this turn as terms of its objective, by name; {} where none are due.

        Args:
            D: images [N, ...] -> logits.
            real, fake: images [N, ...] as D sees them, T(x) and T(G(z)); no gradient reaches them.
        """
        if self._turn is None:
            raise ValueError("penalties belong into a turn: with self.turn('D') as minimize")
        terms: dict[str, Tensor] = {}
        if self.regularizer is not None and not self._skips(self._turn):
            T = self.T if isinstance(self.T, Augment) and self.T.active else None
            turn = self.turns[self._turn.player]
            terms = self.regularizer(D, real, fake, turn=turn, generator=self.rng, T=T)
            if self.burn_in is not None:
                factor = self.burn_in.between(1.0, self.burn_in.penalties, self.images_before)
                terms = {name: factor * term for name, term in terms.items()}
        self._turn.penalties = frozenset(terms)
        return terms

    def _minimize(self, turn: Turn, **terms: Tensor) -> None:
        turn.take(terms)
        if self._skips(turn):
            return
        optimizers = self.optimizers()
        optimizer = optimizers[list(self._players).index(turn.player)] if isinstance(optimizers, list) else optimizers
        optimizer.zero_grad()
        objective = sum(terms.values(), start=torch.zeros((), device=self.device))
        named, strategy = self._parameters_of[turn.player], self.trainer.strategy
        total = objective.detach().clone()
        averaging = strategy.averaging(turn.player, named, total) if isinstance(strategy, TurnDDP) else nullcontext()
        with averaging:
            self.manual_backward(objective)
        norm = nn.utils.get_total_norm([p.grad for _, p in named if p.grad is not None])
        turn.norm, turn.lost = norm, self._finite.lost(norm.isfinite() & total.isfinite())  # on all ranks or on none
        if self.game["clip_norm"] is not None:
            nn.utils.clip_grads_with_norm_([p for _, p in named], self.game["clip_norm"], norm)
        self._hold_if(turn.lost, self._players[turn.player])
        optimizer.step()

    def _hold_if(self, lost: Tensor, optimizer: Optimizer) -> None:
        """Let an optimizer leave everything as it is where `lost` is 1; one that can't end the run here and now."""
        if can_hold(optimizer):
            optimizer.found_inf = lost  # type: ignore[attr-defined]
        elif lost:
            self._finite.end_step(self._made, images=self.images, well=self.images_before, world_size=self.world_size)
            self._finite.hear(self.world_size)

    def _skips(self, turn: Turn) -> bool:
        """Whether the critic is too strong to move: its mean accuracy, on real and fake images, over all ranks."""
        limit = self.game["skip_d_above"]
        if limit is None or not turn.is_critic:
            return False
        if turn.skipped is None:
            accuracy = float(self.over_ranks(self._finite.marked(turn.accuracy())))
            self._finite.heard(math.isnan(accuracy), self.world_size)
            turn.skipped = accuracy > limit
        return turn.skipped

    @property
    def augments(self) -> bool:
        """Whether T changes anything."""
        return isinstance(self.T, Augment) and self.T.active

    def configure_optimizers(self) -> list[Optimizer]:
        """The players' optimizers, in the order of `players()`.

        Raises:
            ValueError: if a parameter has no player or several, a player has no learning rate, a learning rate no
                player, or there is no average; if model.freeze_d leaves nothing of the critic.
        """
        self.hold_layers()
        owners: dict[nn.Parameter, str] = {}
        for player, networks in self.players().items():
            parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
            for parameter in parameters:
                if owners.setdefault(parameter, player) != player:
                    raise ValueError(f"players {owners[parameter]} and {player} share a parameter")
            self._players[player] = self.optimizer(player, parameters)
            self._parameters_of[player] = [(n, p) for n, p in self.named_parameters() if owners.get(p) == player]
            self.turns.setdefault(player, 0)
        if orphans := [n for n, p in self.named_parameters() if p.requires_grad and p not in owners]:
            raise ValueError(f"no player trains {', '.join(orphans)}: add their network to players() or freeze them")
        if self.game["ema_half_life"] is not None and not self._averages:
            raise ValueError(
                f"model.ema_half_life={self.game['ema_half_life']}, but {type(self).__name__} averages nothing: write "
                "self.G_ema = self.average(self.G) in its constructor, or set model.ema_half_life=null"
            )
        if self.burn_in is not None and self.burn_in.ema_half_life is not None and not self._averages:
            raise ValueError(
                f"model.burn_in.ema_half_life={self.burn_in.ema_half_life} is of an average, and there is none: set "
                "model.burn_in.ema_half_life=null too, or model.ema_half_life=0"
            )
        if any(isinstance(layer, _BatchNorm) for network in self.critics() for layer in network.modules()):
            self.refuse_gradient_penalty("another regularizer, or a discriminator without it")
        for name, rate in self.game["lr"].items():
            if name not in self._players and rate != defaults()["lr"].get(name):
                raise ValueError(
                    f"model.lr.{name}={rate:g} acts on a player {name}, and {type(self).__name__} has "
                    f"{', '.join(self._players)} alone: leave it out"
                )
        if self.critic is None:
            self._refuse_settings_of_a_critic()
        else:
            self._refuse_free_critic()
        if self._trainer is not None:
            refuse_trainer(self.trainer)
            if self._captures:
                refuse_place(self.trainer.strategy.root_device, self.world_size)
        return list(self._players.values())

    def hold_layers(self) -> list[nn.Parameter]:
        """Hold the layers of the critic's networks that model.freeze_d says; the parameters that are held."""
        held = self.critics() if self.game["freeze_d"] else []
        return [parameter for network in held for parameter in freeze(network, self.game["freeze_d"])]

    def _refuse_settings_of_a_critic(self) -> None:
        """Raise a ValueError for a setting that acts on a critic, in a game that has none."""
        usual = defaults()
        for name in OF_A_CRITIC:
            if (value := self.game[name]) != usual[name]:  # type: ignore[literal-required]
                said = "" if isinstance(value, dict) else f"={value}"
                raise ValueError(
                    f"{name if isinstance(value, dict) else f'model.{name}'}{said} acts on a discriminator, and "
                    f"{type(self).__name__} has none: leave it out"
                )

    def _refuse_free_critic(self) -> None:
        """Raise a ValueError where the objective needs a critic that is held, and nothing holds this one.

        A game whose `regularizer` is None takes no penalties, and goes without as long as D's objective is bounded.
        """
        layers = [layer for network in self.critics() for layer in network.modules()]
        missing = [name for name in self.loss.needs if not getattr(self.regularizer, name, 0)]
        if not missing or any(is_parametrized(layer, "weight") for layer in layers):
            return
        loss, remedy = self.game["loss"], f"regularizer={'_'.join(self.loss.needs)}"
        if not self.loss.bounded:
            raise ValueError(
                f"loss={loss} has no bound unless {self.critic} is held: add {remedy} where model= takes one, or "
                "choose another loss"
            )
        if self.regularizer is not None:
            raise ValueError(
                f"loss={loss} does not converge without {' and '.join(self.loss.needs)}: add {remedy} "
                "(model.regularizer=null tries it without)"
            )

    def compile_networks(self, mode: Literal["default", "reduce-overhead"] = "default", **settings: Any) -> None:
        """Compile each network that a player trains, in place; checkpoints stay the same. `settings`: torch.compile's.

        Averages stay eager, and so does each network in evaluation: that is once in a while, on batches of other sizes.

        With reduce-overhead a network's forward and backward are CUDA graphs, in whose memory the next ones write, and
        torch takes a backward for the end of a step: D's would give up what G's has yet to go back through. So each
        step says where it begins, and what networks make lives until the next one.
        """
        self._marks_steps = mode == "reduce-overhead"
        if self._marks_steps:
            settings["mode"] = mode
        quirks.compile_often()
        for network in self.children():
            if any(parameter.requires_grad for parameter in network.parameters()):
                network.compile(dynamic=False, **settings)  # batches are of one size, and each phase has its own graphs

    def capture_steps(self) -> None:
        """Capture a step as one CUDA graph, once training has warmed up, and replay it from then on.

        Raises:
            ValueError: where Python decides anew from step to step, with the setting that does.
        """
        refuse_decisions(self)
        self._captures = True

    # Averages -------------------------------------------------------------------------------------------------------

    def average(self, network: nn.Module) -> EMA | None:
        """An average that follows a network from step to step; None where model.ema_half_life is None."""
        if self.game["ema_half_life"] is None:
            return None
        average = EMA(network, half_life=self.game["ema_half_life"])
        if self.burn_in is not None and self.burn_in.ema_half_life is not None:
            average.warmup = 0.0  # it has this one
        self._averages.append((average, network))
        return average

    def best(self, network: nn.Module) -> Callable[..., Tensor]:
        """What the result of a run is made by: the network's average, or, without one, itself in evaluation mode.

        Raises:
            ValueError: if the model came from a file without it.
        """
        if self.missing:
            raise ValueError(
                f"this file has a discriminator alone, for start=; {type(self).__name__} makes images by "
                f"{min(self.missing)}, which is not there"
            )
        for average, followed in self._averages:
            if followed is network:
                return average
        return partial(evaluated, network)

    def averages(self) -> dict[str, nn.Module]:
        """The networks' averages, by attribute."""
        names = {module: name for name, module in self.named_children()}
        return {names[average]: average for average, _ in self._averages}

    def deployed(self) -> dict[str, nn.Module]:
        """The networks that a trained model is used by, by attribute, each as `best` has it: all but the critic's."""
        names = {module: name for name, module in self.named_children()}
        others = [networks for player, networks in self.players().items() if player != self.critic]
        averages = {followed: average.module for average, followed in self._averages}
        return {names[network]: averages.get(network, network) for networks in others for network in networks}

    @property
    def images_before(self) -> int:
        """Images shown before the present batch."""
        return self.images - self._step_images

    @property
    def averaged(self) -> bool:
        """Whether `preview` shows an average of the generator."""
        return bool(self._averages)

    def move_averages(self) -> None:
        """Let the averages follow their networks, once in each step: at its end, unless a variant does it before."""
        if not self._averages_moved:
            for average, network in self._averages:
                average.update(network, images=self._step_images)
        self._averages_moved = True

    # A step ---------------------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Channels last is the layout in which convolutions are fastest, on CPUs and on GPUs alike; not on CPUs
        for networks that say `channels_last_on_cpu = False`: their inner layers have more weights than activations.

        Which values of the files are black and white, where the data found that, goes with the settings.
        """
        if self._trainer is not None and (ranges := getattr(self.trainer.datamodule, "ranges", [])):  # type: ignore[attr-defined]
            self.config = {**self.config, "ranges": ranges}
        self.to(memory_format=torch.channels_last)
        if self.device.type == "cpu":
            for module in self.modules():
                if not getattr(module, "channels_last_on_cpu", True):
                    module.to(memory_format=torch.contiguous_format)
            quirks.no_search_for_a_driver()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """A step begins: the learning rates are those for the images seen so far, then this batch counts."""
        if len(batch[0]) == 1 and any(isinstance(layer, nn.BatchNorm1d) for layer in self.modules()):
            raise ValueError("one image a batch has no BatchNorm in dense layers: set data.batch_size to 2 or more")
        for player, rate in self._rates().items():
            set_rate(self._players[player], rate)
        self._burn_in()
        self._step_images = len(batch[0]) * self.world_size
        self.images += self._step_images
        quirks.count_images(self.trainer, self.images)
        self.run_log.begin_step(self.images, self._step_images)
        self._averages_moved = False
        if isinstance(self.T, Augment):
            self.T.generator = self.rng
        if self._marks_steps:
            torch.compiler.cudagraph_mark_step_begin()

    def _rates(self) -> dict[str, float]:
        """Each player's learning rate in the step that begins now."""
        common = self.lr_factor
        if self.burn_in is not None:
            common *= self.burn_in.between(1.0, self.burn_in.lr, self.images)
        scale = lambda player: common * self.lr_scale(player, self.images)
        return {player: optimizer.defaults["lr"] * scale(player) for player, optimizer in self._players.items()}

    def _burn_in(self) -> None:
        """What moves with the images seen so far, beside the rates and the penalties' weights, in the step that begins
        now."""
        if self.burn_in is None:
            return
        if self.burn_in.beta2 is not None:
            first, second = self.game["betas"]
            betas = (float(first), self.burn_in.between(second, self.burn_in.beta2, self.images))
            for optimizer in self._players.values():
                for group in optimizer.param_groups:
                    group["betas"] = betas
        if self.burn_in.ema_half_life is not None:
            for average, _ in self._averages:
                start = self.game["ema_half_life"] or 0.0
                average.half_life = self.burn_in.between(start, self.burn_in.ema_half_life, self.images)
        if self.burn_in.augment is not None and isinstance(self.T, Augment) and self.game["augment"]:
            start = self.game["augment"]["probability"]
            self.T.p.fill_(self.burn_in.between(start, self.burn_in.augment, self.images))

    def _refuse_burn_in_of_nothing(self) -> None:
        """Raise a ValueError where what is to burn in is not there, or is moved by something else."""
        if self.burn_in is None:
            return
        if self.burn_in.augment is not None and not self.augments:
            raise ValueError(
                f"model.burn_in.augment={self.burn_in.augment} is of an augmentation, and there is none: add augment="
                "ada model.augment.target=null, or set model.burn_in.augment=null"
            )
        if self.burn_in.augment is not None and isinstance(self.T, Augment) and self.T.target is not None:
            raise ValueError(
                f"model.burn_in.augment={self.burn_in.augment} and model.augment.target={self.T.target} both move the "
                "augmentation's probability: set one of them to null"
            )

    def _make_step(self, algorithm: Callable[[Any], Any], batch: Any) -> None:
        """Let the algorithm make this step's turns, or a graph in its place, which runs no Python."""

        def play(batch: Any) -> list[Turn]:
            self._made = []
            algorithm(batch)
            return self._made

        turns = dict(self.turns)
        self._made = play(batch) if self._graph is None else self._graph(play, batch)
        for turn in self._made:
            turns[turn.player] += 1
        self.turns |= turns

    def _end_step(self) -> None:
        self._check_step()
        for turn in self._made:
            if turn.norm is not None:
                self.run_log.observe(turn.player, {**turn.terms, "grad_norm": turn.norm})
        self._finite.end_step(self._made, images=self.images, well=self.images_before, world_size=self.world_size)
        self.move_averages()
        judgements = {name: judgement for turn in self._made for name, judgement in turn.judgements.items()}
        for name, judgement in judgements.items():
            self.run_log.observe(name, judgement)
        if isinstance(self.T, Augment) and self.T.target is not None:
            if judgements:
                accuracies = [judgement["accuracy_real"] for judgement in judgements.values()]
                self.T.adapt(torch.stack(accuracies).mean(), images=self._step_images)
            self.run_log.observe("T", {"p": self.T.p.clone()})

    def _check_step(self) -> None:
        """Raises:
        ValueError: if the variant let nobody move, a player waits for its turns in vain, or a resumed run was not
            taken up.
        """
        name = type(self).__name__
        if not self._made:
            first = next(iter(self._players))
            raise ValueError(f"{name}.training_step gave no player a turn: with self.turn({first!r}) as minimize")
        if self._resumed is not None:
            raise ValueError(f"{name}.on_train_start must call super().on_train_start(), or a run can't be resumed")
        if self.critic is None:
            return
        had = {player: turns - self._turns_at_start.get(player, 0) for player, turns in self.turns.items()}
        due = had[self.critic] // self.game["n_critic"] - 1
        late = [player for player in had if had[player] < due]
        if late and not self.phase:  # in a phase somebody may rest
            raise ValueError(
                f"{name}: {self.critic} had {had[self.critic]} turns and {late[0]} {had[late[0]]}: write "
                f"`if self.due({late[0]!r}):` and its turn"
            )

    # Randomness and ranks -------------------------------------------------------------------------------------------

    @property
    def rng(self) -> torch.Generator:
        """This rank's own stream of random numbers, a function of the run's seed and the rank."""
        if self._rng is None:
            self._rng = self._stream(self.device)
        return self._rng

    @property
    def host_rng(self) -> torch.Generator:
        """The stream, always on the CPU, of what decides what Python does: no device is waited for."""
        if self.device.type == "cpu":
            return self.rng
        if self._host_rng is None:
            self._host_rng = self._stream(torch.device("cpu"))
        return self._host_rng

    def _stream(self, device: torch.device) -> torch.Generator:
        rank = self.trainer.global_rank if self._trainer is not None else 0
        return torch.Generator(device).manual_seed(torch.initial_seed() % 2**31 * 1_000_003 + rank + 1)

    @property
    def world_size(self) -> int:
        """The number of processes that train this model."""
        return self.trainer.world_size if self._trainer is not None else 1

    @torch.no_grad()
    def over_ranks(self, value: Tensor) -> Tensor:
        """A tensor's mean over the ranks, without gradient: every rank calls it."""
        return self.trainer.strategy.reduce(value.detach().clone(), reduce_op="mean")

    def synchronise(self) -> None:
        """Make the buffers of all ranks equal: every rank calls it before the model is looked at.

        Raises:
            Diverged: on every rank, if the last steps were not finite.
        """
        self._finite.hear(self.world_size)
        if isinstance(self.trainer.strategy, TurnDDP):
            self.trainer.strategy.equalise_buffers()

    # The log --------------------------------------------------------------------------------------------------------

    def publish(self, values: Mapping[str, float]) -> None:
        """Write values into every logger, at the present number of images."""
        self.run_log.latest.update(values)
        for logger in self.trainer.loggers:
            logger.log_metrics(dict(values), step=self.images)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Publish a row when it is due."""
        if self.run_log.row_due:
            self._publish_row()

    def on_train_end(self) -> None:
        """Publish what the last window holds."""
        self._publish_row()

    def _publish_row(self) -> None:
        self._finite.hear(self.world_size)
        if row := self.run_log.row(self.over_ranks):
            if self.phase:  # in which somebody may rest, of whom nothing is new
                self.run_log.forget(name for name in self._players if f"{name}/grad_norm" not in row)
            rates = {f"{name}/lr": float(player.param_groups[0]["lr"]) for name, player in self._players.items()}
            self.publish(row | rates)

    # Checkpoints ----------------------------------------------------------------------------------------------------

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | os.PathLike[str],
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool = True,
        **hparams: Any,
    ) -> Self:
        """Lightning's way to load the trained model of a checkpoint of this class, in training mode.

        `zoo.load(RUN)` finds the class, and the best checkpoint, on its own.

        Args:
            checkpoint_path: a file; never an address, and never more than plain data (`weights_only`).
            map_location: the device, as torch.load takes it.
            hparams: settings in place of the checkpoint's.

        Raises:
            ValueError: if there is no such checkpoint, it is of another class, or of other settings than these.
        """
        path, otherwise = os.fspath(checkpoint_path), "zoo.load(FILE) finds class and settings on its own"
        if re.match(r"\w+://", path):
            raise ValueError(f"{path} is an address: fetch the file, look whom it is from, and load it from there")
        if not weights_only:
            raise ValueError("weights_only=False would run code that a file may hold: checkpoints are plain data")
        checkpoint = torchfile.load(Path(path))
        try:
            variant = checkpoint["zoo"]["variant"]
        except (KeyError, TypeError, IndexError):
            raise ValueError(f"{path} is a torch file but no checkpoint of this zoo") from None
        for part in ("hyper_parameters", "state_dict"):
            if not isinstance(checkpoint.get(part), dict):
                raise ValueError(f"{path} is damaged: its {part} are missing, or no names with values")
        if odd := [name for name in checkpoint["hyper_parameters"] if str(name).startswith("_")]:  # builds a class
            raise ValueError(f"{path} is refused: its hyper_parameters have {odd[0]!a}, which could run any code")
        torchfile.check_finite(checkpoint["state_dict"], path)
        if variant != (own := f"{cls.__module__}.{cls.__qualname__}"):
            raise ValueError(f"{path} is of {variant}, not of {own}: {otherwise}")
        try:
            return super().load_from_checkpoint(path, map_location, hparams_file, strict, True, **hparams)
        except Exception as error:  # whatever odd content makes Lightning, or a constructor, stumble over
            lines = str(error).strip().splitlines() or [type(error).__name__]
            why = lines[min(1, len(lines) - 1)].strip()
            raise ValueError(f"{path} does not fit {own} with these settings ({why}): {otherwise}") from None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a checkpoint needs beside Lightning's: variant, time, settings, and what each rank keeps for itself.

        Raises:
            Diverged: on every rank, if a step has blown up what no gradient has met yet.
        """
        self.refuse_diverged()
        of_rank = {**random_states(self.rng, self.host_rng), **self.run_log.state(), "own": self.rank_state()}
        checkpoint["zoo"] = {
            "variant": f"{type(self).__module__}.{type(self).__qualname__}",
            "images": self.images,
            "turns": self.turns,
            "phase": self.phase,
            "latest": self.run_log.latest,
            "lr_factor": self.lr_factor,
            "rates": self._rates(),
            "config": self.config,
            "ranks": of_every_rank(of_rank, self.world_size),
        }

    @torch.no_grad()
    def refuse_diverged(self) -> None:
        """A step may be finite and leave weights, averages or moments of no use: they replace no good checkpoint.

        Raises:
            Diverged: on every rank; every rank calls it.
        """
        self._finite.hear(self.world_size)
        sizes = {name: parameter.abs().amax() for name, parameter in self.named_parameters() if parameter.numel()}
        others = {name: [buffer] for name, buffer in self.named_buffers() if buffer.numel()}
        for player, optimizer in self._players.items():
            moments = [v for slots in optimizer.state.values() for v in slots.values() if torch.is_tensor(v)]
            others |= {f"a moment of {player}'s optimizer": moments} if moments else {}
        for name, values in others.items():  # squares are among them, which may be large; some count steps on the CPU
            finite = torch.stack([value.isfinite().all().to(self.device) for value in values]).all()
            sizes[name] = torch.where(finite, 0.0, torch.inf)
        useful = torch.stack([size.float() for size in sizes.values()]) < TOO_LARGE  # what is not a number is not
        if self.over_ranks(useful.all().float()) < 1:
            bad = next((name for name, is_useful in zip(sizes, useful.tolist(), strict=True) if not is_useful), None)
            what = f"{bad} has reached {sizes[bad].item():.3g}" if bad else "weights on another rank are of no use"
            raise Diverged(what, images=self.images, well=self.images_before)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the time, and in a run what this rank keeps for itself once training starts."""
        state = checkpoint["zoo"]
        self.images = state["images"]
        if self._trainer is None:  # `load_from_checkpoint`
            self.config = state["config"]
            return
        self.turns |= state["turns"]
        self.run_log.latest |= state["latest"]
        self.lr_factor = min(self.lr_factor, state["lr_factor"])
        self._rates_before = state["rates"]
        self._phase_before = state.get("phase", self.phase)  # checkpoints of 0.1 have none
        self._resumed = of_this_rank(state["ranks"], self.trainer.global_rank, self.world_size)

    def on_train_start(self) -> None:
        """Take up what a resumed run was doing, and the row that was being written.

        Of the optimizers a checkpoint restores the moments; rates and betas are those that are configured now.
        """
        for optimizer in self._players.values():
            for group in optimizer.param_groups:
                group.update(optimizer.defaults)
        if self._captures:
            self._graph = StepGraph(self.rng)
            make_capturable(self._players.values(), self.device)
        self._turns_at_start = dict(self.turns)
        self._finite = Finite()
        now, before = self._rates(), self._rates_before
        other = [player for player in before if before[player] != now[player]]
        changed = [f"{player}'s from {before[player]:.3g} to {now[player]:.3g}" for player in other]
        if changed and self.trainer.is_global_zero:
            print(f"learning rates at image {self.images:,}: {', '.join(changed)}", flush=True)
        if self._resumed is None:
            return
        if self._phase_before != self.phase and self.trainer.is_global_zero:
            print(
                f"phase at image {self.images:,}: {self.phase}, by these settings; it was {self._phase_before}",
                flush=True,
            )
        state, self._resumed = self._resumed, None
        restore_random_states(state, self.rng, self.host_rng)
        self.load_rank_state(state["own"])
        self.run_log.load_state(state, self.device)
        if self.run_log.row_due:
            self._publish_row()
