"""MSG-GAN: images of every resolution in one tensor."""

import torch

from zoo.networks.multi_scale import MultiScale

SHAPES = [(2, 4, 6), (2, 8, 12), (2, 16, 24)]
END = (2, None)


def test_what_is_packed_comes_out_again() -> None:
    growth = MultiScale(SHAPES)
    images = [torch.randn(3, *shape) for shape in SHAPES]
    packed = growth.pack(images)
    assert packed.shape == (3, 2 * (4 * 6 + 8 * 12 + 16 * 24))
    assert all(torch.equal(image, part) for image, part in zip(images, growth.unpack(packed), strict=True))


def test_real_images_are_averaged_down() -> None:
    growth, real = MultiScale(SHAPES), torch.randn(3, 2, 16, 24)
    small, middle, large = growth.unpack(growth.shown(real, END))
    assert torch.equal(large, real)
    torch.testing.assert_close(middle, real.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5)))
    torch.testing.assert_close(small, real.unflatten(3, (-1, 4)).unflatten(2, (-1, 4)).mean((3, 5)))


def test_every_level_has_an_image_and_the_result_is_the_largest() -> None:
    growth = MultiScale(SHAPES)
    assert growth.seen(END) == range(3)
    assert growth.contributing(END) == range(2, 3)
    image = torch.randn(3, *SHAPES[1])
    assert growth.join([torch.randn(3, *SHAPES[0])], image, END) is image


def test_images_are_appended_to_d_s_features() -> None:
    growth = MultiScale(SHAPES)
    images, h = [torch.randn(3, *shape) for shape in SHAPES], torch.randn(3, 5, 8, 12)
    enter = lambda image, level: image
    assert torch.equal(growth.meet(h, 1, images, END, enter), torch.cat([images[1], h], 1))
    assert growth.appended == 2
    assert growth.entries == [2]
