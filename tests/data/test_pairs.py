"""Two domains: order, resume, crops and flips, and the evaluation bank."""

from functools import partial
from itertools import islice

import pytest
import torch
from test_images import trainer

from zoo.batch import ImagePairs, from_bytes
from zoo.data.module import DataModule, seeded
from zoo.data.pairs import Pairs, cut, gathered
from zoo.data.sources import Arrays, Domains, Memory, resize


def noise(n, channels, size, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, *size), generator=draw, dtype=torch.uint8)


class Noise(DataModule):
    """Unpaired, of two lengths, or aligned; labels tell the rows."""

    name = "noise"

    def __init__(self, n_x=23, n_y=9, aligned=False, **settings):
        def part(seed):
            numbers = (n_x, n_x if aligned else n_y)
            x, y = (
                Arrays(noise(n, 3, self.rows.load_size, seed + k), torch.arange(n), resize)
                for k, n in enumerate(numbers)
            )
            return Domains(x, y, aligned)

        super().__init__(partial(Memory, make=lambda: {"train": part(0), "test": part(10)}), Pairs, settings)


@pytest.fixture
def of_pairs(common):
    """Arguments that every set of pairs takes."""
    del common["channels"]
    return {**common, "load_size": None, "channels_x": 3, "channels_y": 1}


def rows(batches):
    """The rows of x and of y in these batches."""
    return tuple([row for batch in batches for row in getattr(batch, name).tolist()] for name in ("label_x", "label_y"))


def on(data, rank=0, world_size=1):
    data.trainer = trainer(rank, world_size)
    return data


@pytest.mark.parametrize(("n_x", "n_y"), [(20, 8), (8, 20)])
def test_an_epoch_has_the_longer_domain_once_and_the_shorter_equally_often(of_pairs, n_x, n_y):
    stream = iter(Noise(n_x, n_y, **of_pairs).train_dataloader())
    epochs = [rows(list(islice(stream, 5))) for _ in range(2)]
    for x, y in epochs:
        longer, shorter = (x, y) if n_x > n_y else (y, x)
        assert sorted(longer) == list(range(20))
        assert sorted(shorter[:8]) == sorted(shorter[8:16]) == list(range(8))  # whole passes, one after another
        assert len(set(shorter[16:])) == 4
    assert epochs[0][0] != epochs[1][0]
    assert epochs[0][1] != epochs[1][1]
    x, y = rows(list(islice(Noise(20, 20, **of_pairs).train_dataloader(), 5)))
    assert x != y  # each in its own order


def test_index_is_the_row_of_the_longer_domain(of_pairs):
    for n_x, n_y, name in ((20, 8, "label_x"), (8, 20, "label_y")):
        batch = next(iter(Noise(n_x, n_y, **of_pairs).train_dataloader()))
        assert torch.equal(batch.index, getattr(batch, name))
        assert not batch.aligned.any()


@pytest.mark.parametrize("aligned", [False, True])
def test_the_ranks_together_see_what_one_process_sees(of_pairs, aligned):
    def stream(*place):
        return on(Noise(aligned=aligned, **of_pairs), *place).train_dataloader()

    for whole, *parts in islice(zip(stream(), stream(0, 2), stream(1, 2), strict=True), 12):
        pairs = [sorted(zip(*rows(batches), strict=True)) for batches in ([whole], parts)]
        assert pairs[0] == pairs[1]
        assert [len(part.x) for part in parts] == [2, 2]


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("start", [1, 5, 7, 13])
def test_a_resumed_run_goes_on_with_the_same_crops_and_flips(of_pairs, aligned, start):
    def data():
        return on(Noise(aligned=aligned, **{**of_pairs, "load_size": [10, 12], "flip": True}))

    def shown(data, batches):
        return [data.on_after_batch_transfer(batch, 0) for batch in batches]

    straight, resumed = data(), data()
    ahead = shown(straight, islice(straight.train_dataloader(), start + 6))[start:]
    resumed.load_state_dict(resumed.state_dict() | {"shown": start * resumed.batch_size})
    for one, other in zip(ahead, shown(resumed, islice(resumed.train_dataloader(), 6)), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert one.x.shape[1:] == (3, 8, 8)
        assert one.y.shape[1:] == (1, 8, 8)
        assert one.x.dtype == one.y.dtype == torch.float32
    assert straight.state_dict() == resumed.state_dict()
    assert straight.shown == 4 * (start + 6)


def test_two_processes_crop_and_flip_as_one(of_pairs):
    settings = {**of_pairs, "load_size": 12, "flip": True}
    one, other = on(Noise(**settings)), on(Noise(**settings), 1, 2)
    batch = next(iter(one.train_dataloader()))
    half = ImagePairs(*(field[1::2] for field in batch))
    whole, part = one.on_after_batch_transfer(batch, 0), other.on_after_batch_transfer(half, 0)
    assert torch.equal(whole.x[1::2], part.x)
    assert torch.equal(whole.y[1::2], part.y)


def test_placements_cover_all_corners_apart_in_unpaired_sets_and_together_in_aligned_ones(of_pairs):
    settings = {**of_pairs, "image_size": [8, 6], "load_size": [10, 7], "flip": True}
    data = Noise(400, 300, **settings)
    place = lambda epoch, data=data: data.rows.placement(data.split("train"), epoch)
    mirrored, top, left = place(0)
    assert mirrored.shape == top.shape == left.shape == (400, 2)
    assert set(top.flatten().tolist()) == {0, 1, 2}
    assert set(left.flatten().tolist()) == {0, 1}
    assert mirrored.float().mean(0).sub(0.5).abs().max() < 0.1
    for part, later in zip((mirrored, top, left), place(1), strict=True):
        assert not torch.equal(part[:, 0], part[:, 1])
        assert not torch.equal(part, later)
    assert all(torch.equal(a, b) for a, b in zip(place(0), (mirrored, top, left), strict=True))
    for part in place(0, Noise(400, aligned=True, **settings)):
        assert torch.equal(part[:, 0], part[:, 1])
    assert not place(0, Noise(**{**settings, "flip": False})).mirrored.any()


@pytest.mark.parametrize("cut", [cut, gathered])
def test_a_cut_is_a_slice_of_the_image(cut):
    images = noise(3, 2, (5, 6))
    parts = cut(images, torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1]), torch.tensor([False, True, False]), (3, 4))
    assert torch.equal(parts[0], images[0, :, 0:3, 2:6])
    assert torch.equal(parts[1], images[1, :, 1:4, 0:4].flip(2))
    assert torch.equal(parts[2], images[2, :, 2:5, 1:5])


def test_aligned_images_stay_pairs(of_pairs):
    data = on(Noise(aligned=True, **{**of_pairs, "load_size": 12, "flip": True, "channels_y": 3}))
    images = data.sets["train"].joint.images
    images[:, 3:] = images[:, :3]
    for batch in islice(data.train_dataloader(), 8):
        shown = data.on_after_batch_transfer(batch, 0)
        assert torch.equal(shown.x, shown.y)
        assert shown.aligned.all()
        assert torch.equal(shown.label_x, shown.label_y)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("world_size", [1, 3])
def test_an_evaluation_covers_each_position_once(of_pairs, aligned, world_size):
    data = Noise(aligned=aligned, **{**of_pairs, "flip": True, "seed": world_size})
    bank = {}
    for rank in range(world_size):
        for batch in data.evaluation_loader(split="test", num=30, rank=rank, world_size=world_size, batch_size=4):
            assert batch.x.dtype == torch.float32
            for i, position in enumerate(batch.index.tolist()):
                bank[position] = (int(batch.label_x[i]), int(batch.label_y[i]), batch.x[i], batch.y[i])
    assert sorted(bank) == list(range(30))
    num = data.num_images("test")
    assert num == (23 if aligned else 9)
    assert len({bank[i][0] for i in range(num)}) == len({bank[i][1] for i in range(num)}) == num
    alone = next(iter(Noise(aligned=aligned, **of_pairs).evaluation_loader(split="test", num=30, batch_size=30)))
    assert torch.equal(alone.x, torch.stack([bank[i][2] for i in range(30)]))
    assert torch.equal(alone.y, torch.stack([bank[i][3] for i in range(30)]))


def test_training_images_are_evaluated_whole(of_pairs):
    data = Noise(**{**of_pairs, "load_size": 12})
    batch = next(iter(data.evaluation_loader(split="train", num=5, batch_size=5)))
    assert torch.equal(batch.x, from_bytes(resize(data.sets["train"].x.images[batch.label_x], (8, 8))))


def test_evaluation_order_of_one_domain_is_that_of_a_set_of_it(of_pairs):
    order = Noise(20, 20, **of_pairs).split("train").order(seeded(5))
    assert torch.equal(order[:, 0], torch.randperm(20, generator=seeded(5)))


def test_descriptions_and_fingerprints(of_pairs):
    assert Noise(1200, **of_pairs).description == (
        "noise: 1,200 + 9 training images and 1,200 + 9 test images, 8x8, 3 + 1 channels"
    )
    assert Noise(12, aligned=True, **of_pairs).description == (
        "noise: 12 training pairs and 12 test pairs, 8x8, 3 + 1 channels"
    )

    def prints(**change):
        return Noise(**{**of_pairs, **change}).fingerprint("train")

    assert prints() == prints(seed=7, batch_size=2, flip=True)
    changes = ({}, {"n_y": 8}, {"load_size": 9}, {"channels_y": 3}, {"channels_x": 1}, {"n_y": 23, "aligned": True})
    assert len({prints(**change) for change in changes}) == len(changes)


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("load_size", 7, r"data\.load_size=7 is smaller than data\.image_size=8"),
        ("load_size", "big", r"data\.load_size=big is neither"),
        ("channels_x", 5, r"data\.channels_x=5 is not supported"),
        ("channels_y", 0, r"data\.channels_y=0 is not supported"),
    ],
)
def test_wrong_arguments_are_named(of_pairs, argument, value, said):
    with pytest.raises(ValueError, match=said):
        Noise(**{**of_pairs, argument: value})


def test_an_empty_domain_is_refused(of_pairs):
    with pytest.raises(ValueError, match="data=noise has 0 training images"):
        Noise(n_y=0, **of_pairs).setup("fit")
