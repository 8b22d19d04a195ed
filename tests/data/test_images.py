"""Order, flips, the evaluation bank and the fingerprint: what every set shares."""

import tracemalloc
from functools import partial
from itertools import islice
from types import SimpleNamespace

import lightning
import pytest
import torch

from zoo.batch import LabelledImages, from_bytes
from zoo.data.images import Images
from zoo.data.module import DataModule, ShuffledBatches
from zoo.data.sources import Arrays, Memory, resize, with_channels


class Counting(DataModule):
    """Images whose pixels tell their row; sorted by class."""

    name = "counting"

    def __init__(self, n=20, n_test=7, **settings):
        def part(n):
            shape = n, 3, *self.rows.image_size
            images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(n), dtype=torch.uint8)
            return Arrays(images, torch.arange(n) // 5, resize)

        def make():
            return {"train": part(n)} | ({"test": part(n_test)} if n_test else {})

        super().__init__(partial(Memory, make=make), Images, settings)


def trainer(rank=0, world_size=1, training=True):
    return SimpleNamespace(global_rank=rank, world_size=world_size, training=training, num_devices=world_size)


def sampler(rank=0, world_size=1, seed=1, length=23, batch=6, start=0):
    order = lambda generator, epoch: torch.randperm(length, generator=generator)
    return ShuffledBatches(
        length, batch_size=batch // world_size, rank=rank, world_size=world_size, seed=seed, start=start, order=order
    )


def epochs(batches, n, per_epoch=3):
    """The first n epochs, each a list of batches."""
    stream = iter(batches)
    return [list(islice(stream, per_epoch)) for _ in range(n)]


def flat(epoch):
    return [row for batch in epoch for row in batch]


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_ranks_together_see_what_one_process_sees(world_size):
    ranks = [sampler(rank, world_size) for rank in range(world_size)]
    assert {one.per_epoch for one in (sampler(), *ranks)} == {3}
    for whole, *parts in islice(zip(sampler(), *ranks, strict=True), 9):
        assert sorted(whole) == sorted(row for part in parts for row in part)
        assert {len(part) for part in parts} == {6 // world_size}


def test_no_image_twice_in_an_epoch_and_epochs_and_seeds_differ():
    first, second = epochs(sampler(), 2)
    assert len(flat(first)) == len(set(flat(first))) == 18
    assert len(set(flat(second))) == 18
    assert epochs(sampler(), 2) == [first, second]  # a pure function of seed and epoch
    assert epochs(sampler(seed=2), 1) != [first]
    assert flat(first) != flat(second)
    assert set(flat(first)) != set(flat(second))  # what an epoch leaves out is not always the same


@pytest.mark.parametrize("start", [1, 3, 4, 8])
def test_a_stream_goes_on_anywhere(start):
    assert list(islice(sampler(start=start), 5)) == list(islice(sampler(), start, start + 5))


def test_batches_reach_the_model_as_floats(common):
    class Seen(lightning.LightningModule):
        automatic_optimization = False

        def __init__(self):
            super().__init__()
            self.batches = []

        def training_step(self, batch, batch_idx):
            self.batches.append(batch)

        def configure_optimizers(self):
            return None

    data, model = Counting(**common), Seen()
    lightning.Trainer(
        max_epochs=1,
        limit_train_batches=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(model, data)
    assert data.shown == 10 * data.batch_size
    rows = [row for batch in model.batches for row in batch.index.tolist()]
    assert len(set(rows[:20])) == len(set(rows[20:40])) == 20
    assert rows[:20] != rows[20:40]
    batch = model.batches[0]
    assert isinstance(batch, LabelledImages)
    assert batch.image.dtype == torch.float32
    assert torch.equal(batch.image, from_bytes(data.sets["train"].images[batch.index]))
    assert torch.equal(batch.label, batch.index // 5)


def test_a_replaced_sampler_is_explained(common):
    with pytest.raises(TypeError, match="use_distributed_sampler=false"):
        Counting(**common).split("train")[3]


def test_a_resumed_run_goes_on_with_the_next_batch(common):
    straight, resumed = Counting(**common), Counting(**common)
    resumed.load_state_dict(straight.state_dict() | {"shown": 7 * resumed.batch_size})
    ahead = islice(straight.train_dataloader(), 7, 12)
    assert [b.index.tolist() for b in ahead] == [b.index.tolist() for b in islice(resumed.train_dataloader(), 5)]


def test_other_images_begin_with_their_first_epoch(common, capsys):
    before, other = Counting(n=24, **common), Counting(n=30, **common)
    other.load_state_dict(before.state_dict() | {"shown": 7 * before.batch_size})
    assert other.shown == 0
    assert "other training images than this run saw before" in capsys.readouterr().out


def test_flips_are_of_half_the_training_images_and_the_same_on_any_number_of_processes(common):
    data = Counting(n=400, **{**common, "flip": True})
    data.trainer = trainer()
    batch = data.split("train")[list(range(400))]
    image = data.on_after_batch_transfer(batch, 0).image
    plain = from_bytes(batch.image)
    mirrored = (image == plain.flip(3)).all((1, 2, 3))
    assert torch.equal(mirrored, ~(image == plain).all((1, 2, 3)))
    assert 160 < mirrored.sum() < 240
    assert torch.equal(mirrored, data.rows.flips(400, 0))

    other = Counting(n=400, **{**common, "flip": True})
    other.trainer = trainer(rank=1, world_size=2)
    rows = list(range(1, 400, 2))
    assert torch.equal(other.on_after_batch_transfer(other.split("train")[rows], 0).image, image[1::2])
    assert not torch.equal(data.rows.flips(400, 0), data.rows.flips(400, 1))
    assert len(data.rows.flips(500, 1)) == 500
    assert data.rows.flips(500, 1, torch.device("meta")).is_meta

    data.trainer = trainer(training=False)
    assert torch.equal(data.on_after_batch_transfer(batch, 0).image, plain)
    assert data.on_after_batch_transfer("another batch", 0) == "another batch"


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num", [2, 7, 25])
def test_an_evaluation_covers_each_position_once(common, world_size, num):
    data = Counting(**common)
    bank = {}
    for rank in range(world_size):
        loader = data.evaluation_loader(split="test", num=num, rank=rank, world_size=world_size, batch_size=3)
        batches = list(loader)
        assert len(batches) == len(loader)
        for batch in batches:
            assert len(batch.image) <= 3
            assert batch.image.dtype == torch.float32
            for image, label, position in zip(*batch, strict=True):
                assert int(position) not in bank
                assert int(position) % world_size == rank
                bank[int(position)] = image, label
    assert sorted(bank) == list(range(num))
    for position in range(7, num):  # beyond the set it repeats
        assert torch.equal(bank[position][0], bank[position - 7][0])
    alone = torch.cat([b.image for b in data.evaluation_loader(split="test", num=num)])
    assert torch.equal(alone, torch.stack([bank[i][0] for i in range(num)]))
    if num >= 7:
        assert len({image.numpy().tobytes() for image, _ in bank.values()}) == 7


def test_an_evaluation_is_mixed_never_flipped_and_independent_of_the_seed(common):
    one, other = Counting(**{**common, "flip": True}), Counting(**{**common, "seed": 9, "batch_size": 2})
    one.trainer = trainer()
    first = torch.cat([b.label for b in one.evaluation_loader(split="train", num=20)])
    assert first.tolist() != sorted(first.tolist())
    images = [torch.cat([b.image for b in d.evaluation_loader(split="train", num=20)]) for d in (one, other)]
    assert torch.equal(*images)


@pytest.mark.parametrize("wrong", [{"num": 0}, {"rank": 2, "world_size": 2}, {"batch_size": 0}, {"split": "val"}])
def test_a_wrong_evaluation_is_refused(common, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Counting(**common).evaluation_loader(**{"split": "train", "num": 3, **wrong})


def test_an_evaluation_of_many_images_takes_no_object_for_each(common):
    """A million images, of which three batches are looked at."""
    data = Counting(n=10**6, n_test=0, **{**common, "image_size": 1})
    assert data.num_images("train") == 10**6
    tracemalloc.start()
    loader = data.evaluation_loader(split="train", num=10**6, batch_size=1_000)
    seen = [batch.index.tolist() for batch in islice(loader, 3)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == [list(range(start, start + 1_000)) for start in (0, 1_000, 2_000)]
    assert peak < 4e6


def test_no_test_images_says_what_to_do(common):
    with pytest.raises(ValueError, match=r"data=counting has no test images: .*split=train"):
        Counting(n_test=0, **common).evaluation_loader(split="test", num=3)


def test_the_batch_is_shared_among_processes(common):
    data = Counting(**common)
    data.trainer = trainer(world_size=2)
    assert {len(batch.image) for batch in islice(data.train_dataloader(), 5)} == {2}
    data.trainer = trainer(world_size=3)
    with pytest.raises(ValueError, match=r"data\.batch_size=4 .* among 3: set data\.batch_size=3"):
        data.setup("fit")


def test_too_few_images_are_refused(common):
    with pytest.raises(ValueError, match=r"data=counting has 3 training images.*set data\.batch_size=3"):
        Counting(n=3, **common).setup("fit")
    with pytest.raises(ValueError, match="has 0 training images"):
        Counting(n=0, **common).setup("fit")
    Counting(n=3, **common).setup("test")  # a trained model may be measured against few


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *[("image_size", 0), ("image_size", [8]), ("image_size", "big"), ("channels", 5), ("batch_size", 0)],
        *[("num_workers", "many"), ("num_workers", -1), ("seed", -1)],
    ],
)
def test_wrong_arguments_are_named(common, argument, value):
    with pytest.raises(ValueError, match=f"{argument}="):
        Counting(**{**common, argument: value})


def test_description_and_sizes(common):
    data = Counting(n=1200, **{**common, "image_size": [4, 6], "channels": 1})
    assert data.description == "counting: 1,200 training and 7 test images, 4x6, 1 channel"
    assert data.num_classes == 0


def test_the_fingerprint_follows_content_and_parameters(common):
    def prints(**change):
        n = change.pop("n", 20)
        return Counting(n=n, **{**common, **change}).fingerprint("train")

    assert prints() == prints(seed=7, batch_size=2, flip=True, num_workers=1)  # none of them changes an image
    assert len(prints()) == 64
    data = Counting(**common)
    assert len({prints(), prints(n=21), prints(image_size=9), prints(channels=1), data.fingerprint("test")}) == 5
    data = Counting(**common)
    data.split("train").images[3, 0, 2, 2] ^= 1
    assert data.fingerprint("train") != prints()
    data = Counting(**common)
    data.split("train").labels[3] ^= 1
    assert data.fingerprint("train") != prints()


def test_channels_and_resize():
    grey = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    assert torch.equal(with_channels(grey, 3), grey.repeat(1, 3, 1, 1))
    assert torch.equal(with_channels(with_channels(grey, 3), 1), grey)
    assert with_channels(grey, 2)[:, 1].unique().tolist() == [255]
    assert with_channels(grey, 4).shape == (1, 4, 4, 4)
    assert resize(grey, (4, 4)) is grey
    checks = torch.tensor([[0, 200], [200, 0]], dtype=torch.uint8).repeat(8, 8)[None, None]
    assert (resize(checks, (2, 2)).int() - 100).abs().max() <= 2
