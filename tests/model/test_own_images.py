"""The user's own images: folders and ZIPs."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from model import data
from model.data import DataError


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 8), seed: int = 0) -> Tensor:
    """Writes noise as an image of that mode, and returns it as uint8 (C, H, W)."""
    pixels = noise(size[1], size[0], 1 if mode == "L" else 3, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze(2).numpy()).save(path)
    return pixels.permute(2, 0, 1)


def test_flat_folder_has_no_classes(tmp_path: Path) -> None:
    made = [picture(tmp_path / f"{i:02}.png", seed=i) for i in range(20)]
    train, test = data.load(str(tmp_path)), data.load(str(tmp_path), split="test")
    assert train.labels is None
    assert train.classes == ()
    assert train.source == tmp_path.name
    assert torch.equal(test.images, torch.stack([made[9], made[19]]))
    assert torch.equal(train.images, torch.stack(made[:9] + made[10:19]))


def test_subfolders_are_classes(tmp_path: Path) -> None:
    made = {name: [picture(tmp_path / name / f"{i}.png", seed=i) for i in range(3)] for name in ("owl", "cat")}
    made["cat"].append(picture(tmp_path / "cat" / "deeper" / "still.png", seed=9))
    dataset = data.load(str(tmp_path))
    assert dataset.classes == ("cat", "owl")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert torch.equal(dataset.images, torch.stack(made["cat"] + made["owl"]))


def test_grey_images_stay_grey(tmp_path: Path) -> None:
    made = [picture(tmp_path / f"{i}.png", mode="L", seed=i) for i in range(3)]
    assert torch.equal(data.load(str(tmp_path)).images, torch.stack(made))


def test_one_colour_image_makes_all_rgb(tmp_path: Path) -> None:
    grey, coloured = picture(tmp_path / "a.png", mode="L"), picture(tmp_path / "b.png")
    images = data.load(str(tmp_path)).images
    assert torch.equal(images, torch.stack([grey.expand(3, -1, -1), coloured]))


def test_16_bit_grey_is_scaled_to_8_bits(tmp_path: Path) -> None:
    """PNGs of scanners and microscopes: 257 levels become one."""
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    Image.fromarray(values).save(tmp_path / "deep.png")
    images = data.load(str(tmp_path)).images
    assert images.shape == (1, 1, 8, 8)
    assert (images[0, 0].double() - torch.from_numpy(values / 257)).abs().max() <= 0.5 + 1e-6


def test_exif_orientation_6_is_applied(tmp_path: Path) -> None:
    """Orientation 6: the top of the sensor is the right of the image."""
    pixels = noise(8, 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels.numpy()).save(tmp_path / "photo.png", exif=exif)
    assert torch.equal(data.load(str(tmp_path)).images[0, 0], pixels.rot90(-1))


def exif_with(*entries: tuple[int, int, int, int]) -> bytes:
    """EXIF whose only directory holds (tag, type, count, value) entries (TIFF 6.0, section 2)."""
    directory = struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + directory + b"\0" * 4


ORIENTATION_6 = (0x0112, 3, 1, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied_like_pillow(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(noise(8, 8).numpy()).save(path, exif=exif_with((0x0112, 3, 1, orientation)))
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image))
    assert torch.equal(data.load(str(tmp_path)).images[0, 0], torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("exif", "turned"),
    [
        (b"Exif\0\0XX*\0\x08\0\0\0\x01\0", False),  # no TIFF header: SyntaxError
        (exif_with(ORIENTATION_6, (0x011A, 2, 1, 65)), True),  # XResolution as text: TypeError when written
        (exif_with(ORIENTATION_6, (0x0100, 2, 2, 0x41)), True),  # ImageWidth as text: struct.error when written
    ],
    ids=["header", "resolution", "width"],
)
def test_malformed_exif_does_not_stop_loading(exif: bytes, turned: bool, tmp_path: Path) -> None:
    """The image is kept, and turned where the orientation itself can be read."""
    pixels = noise(8, 8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "photo.png", exif=exif)
    dataset = data.load(str(tmp_path))
    assert dataset.skipped == ()
    assert torch.equal(dataset.images[0, 0], pixels.rot90(-1) if turned else pixels)


def test_image_that_raises_another_error_is_skipped(tmp_path: Path) -> None:
    """Pillow raises TypeError for a TIFF whose StripOffsets are text, zipfile RuntimeError for an encrypted entry."""
    picture(tmp_path / "good.png")
    picture(tmp_path / "bad.tif")
    whole = bytearray((tmp_path / "bad.tif").read_bytes())
    entry = whole.index(struct.pack("<HH", 0x0111, 4))
    whole[entry + 2] = 2
    (tmp_path / "bad.tif").write_bytes(whole)
    assert data.load(str(tmp_path)).skipped == ("bad.tif",)

    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.write(tmp_path / "good.png", "a.png")
        archive.write(tmp_path / "good.png", "b.png")
    packed = bytearray((tmp_path / "mine.zip").read_bytes())
    packed[packed.rindex(b"PK\x01\x02") + 8] |= 1  # the flag of encryption, in the directory's last entry
    (tmp_path / "mine.zip").write_bytes(packed)
    assert data.load(str(tmp_path / "mine.zip")).skipped == ("b.png",)


def test_palette_images_are_resized_in_colour(tmp_path: Path) -> None:
    """Two colours mix when halved in size; nearest-pixel resizing would keep them."""
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(16, 8)
    Image.fromarray(stripes.numpy()).convert("P").save(tmp_path / "stripes.gif")
    images = data.load(str(tmp_path), size=8).images
    assert ((images[..., 2:-2] > 64) & (images[..., 2:-2] < 192)).all()


@pytest.mark.parametrize("size", [None, 4])
def test_palette_with_transparency_in_bytes_loads_without_warning(size: int | None, tmp_path: Path) -> None:
    """Pillow's UserWarning, an error in tests. Colours are kept; transparency is ignored."""
    Image.fromarray(noise(8, 8, 3).numpy()).quantize(16).save(tmp_path / "sprite.png", transparency=bytes(range(16)))
    with Image.open(tmp_path / "sprite.png") as image:
        assert isinstance(image.info["transparency"], bytes)
        palette = np.array(image.getpalette(), dtype=np.uint8).reshape(-1, 3)
        expected = torch.from_numpy(palette[np.asarray(image)]).permute(2, 0, 1)
    dataset = data.load(str(tmp_path), size=size)
    assert dataset.skipped == ()
    if size is None:
        assert torch.equal(dataset.images[0], expected)


def test_size_crops_to_the_centre(tmp_path: Path) -> None:
    wide = picture(tmp_path / "wide.png", size=(12, 8))
    tall = picture(tmp_path / "tall.png", size=(8, 14))
    images = data.load(str(tmp_path), size=8).images
    assert torch.equal(images, torch.stack([tall[:, 3:11], wide[:, :, 2:10]]))


@pytest.mark.parametrize("sizes", [[(8, 8), (9, 9)], [(8, 9), (8, 9)]], ids=["different sizes", "not square"])
def test_without_size_images_must_be_square_and_of_one_size(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    for i, size in enumerate(sizes):
        picture(tmp_path / f"{i}.png", size=size)
    with pytest.raises(DataError, match="give the training size"):
        data.load(str(tmp_path))


@pytest.mark.parametrize("damage", ["not an image", "truncated"])
def test_unreadable_image_is_skipped_and_named(damage: str, tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    picture(tmp_path / "broken.png", size=(64, 64))
    whole = (tmp_path / "broken.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(b"no picture" if damage == "not an image" else whole[: len(whole) // 2])
    dataset = data.load(str(tmp_path), size=8)
    assert dataset.skipped == ("broken.png",)
    assert len(dataset) == 1
    (tmp_path / "good.png").unlink()
    with pytest.raises(DataError, match=r"none of the 1 images.*broken\.png"):
        data.load(str(tmp_path), size=8)


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "stray.png")
    picture(tmp_path / "cat" / "1.png")
    with pytest.raises(DataError, match="beside class folders"):
        data.load(str(tmp_path))


def test_folder_without_images_lists_the_suffixes(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"\.png"):
        data.load(str(tmp_path))


def test_other_files_are_ignored(tmp_path: Path) -> None:
    picture(tmp_path / "a.PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    assert len(data.load(str(tmp_path))) == 1


def test_zip_loads_like_its_folder(tmp_path: Path) -> None:
    """A ZIP with one top-level folder, and the __MACOSX entries of macOS beside it."""
    made = {name: [picture(tmp_path / "pets" / name / f"{i}.png", seed=i) for i in range(3)] for name in ("owl", "cat")}
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for file in sorted((tmp_path / "pets").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path))
        archive.writestr("__MACOSX/pets/cat/._0.png", b"no picture")
    packed, unpacked = data.load(str(tmp_path / "pets.zip")), data.load(str(tmp_path / "pets"))
    assert packed.source == unpacked.source == "pets"
    assert packed.classes == unpacked.classes == ("cat", "owl")
    assert packed.skipped == ()
    assert torch.equal(packed.images, torch.stack(made["cat"] + made["owl"]))
    assert torch.equal(packed.images, unpacked.images)
    assert packed.labels is not None
    assert unpacked.labels is not None
    assert torch.equal(packed.labels, unpacked.labels)


def test_single_top_level_folder_is_not_a_class(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    assert data.load(str(tmp_path)).labels is None


def test_truncated_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"mine\.zip is neither"):
        data.load(str(tmp_path / "mine.zip"))


def test_images_larger_than_memory_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"GiB.*smaller size"):
        data.load(str(tmp_path), size=1_000_000)


def test_real_colour_images_in_zip(real_data: Path) -> None:
    dataset = data.load(str(real_data / "CIFAR10-jpeg" / "test.zip"))
    assert dataset.images.shape == (9000, 3, 32, 32)
    assert len(dataset.classes) == 10
    assert dataset.labels is not None
    assert dataset.labels.bincount().tolist() == [900] * 10
