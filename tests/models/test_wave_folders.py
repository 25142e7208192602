"""Folders of WAV files: what the files say is heard, as log-mel spectrograms by a formula that is written down."""

from __future__ import annotations

import os
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from splitimpera.core.errors import DataError
from splitimpera.models.datasets import load_data
from splitimpera.models.spectrograms import LogMel
from splitimpera.models.wave_files import read_wave
from splitimpera.scenario import DataSection

RATE = 16_000
USUAL = LogMel(RATE, 1.0, 40, 0.025, 0.01)


def load(folder, kind="class", **keys):
    return load_data(DataSection(source=str(folder), **keys), Path(), kind)


def tone(hertz, seconds=1.0, rate=RATE, loud=0.5):
    return loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write(path, values, rate=RATE, width=2):
    """A WAV file of values (n,) or (n, channels) from -1 to 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.atleast_2d(values.T).T
    whole = np.round(values * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    content = (whole + 128 if width == 1 else whole << (8 * (4 - width))).astype("<u1" if width == 1 else "<i4")
    data = content.tobytes() if width == 1 else content.view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(values.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes, low and high tones, five files each."""
    for number in range(5):
        write(tmp_path / "low" / f"{number}.wav", tone(300 + 20 * number))
        write(tmp_path / "high" / f"{number}.WAV", tone(3000 + 100 * number))
    return tmp_path


# One file -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "error"), [(1, 1 / 120), (2, 1e-4), (3, 1e-6), (4, 1e-8)])
@pytest.mark.parametrize("channels", [1, 2])
def test_integers_of_all_widths_are_read(tmp_path, width, error, channels):
    values = np.stack([tone(440, 0.1), tone(700, 0.1)], 1)[:, :channels]
    clip = read_wave(write(tmp_path / "a.wav", values, width=width), RATE, 1600)
    np.testing.assert_allclose(clip, values.mean(1), atol=error)


def test_clips_are_padded_and_cropped(tmp_path):
    path = write(tmp_path / "a.wav", tone(440, 0.1))
    long, short = read_wave(path, RATE, 3000), read_wave(path, RATE, 700)
    assert (len(long), len(short)) == (3000, 700)
    np.testing.assert_array_equal(long[:700], short)
    assert not long[1600:].any()


@pytest.mark.parametrize("own", [8000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(tmp_path, own):
    path = write(tmp_path / "a.wav", tone(440, 0.5, own), own)
    clip = read_wave(path, RATE, RATE // 2)
    inside = slice(400, RATE // 2 - 400)
    np.testing.assert_allclose(clip[inside], tone(440, 0.5)[inside], atol=2e-3)


def test_a_rate_that_is_no_simple_fraction_is_refused(tmp_path):
    path = write(tmp_path / "a.wav", tone(440, 0.5, 44_101), 44_101)
    with pytest.raises(DataError, match="has 44101 samples a second, from which 16000 are no simple fraction"):
        read_wave(path, RATE, RATE)


def header(channels=1, rate=RATE, bits=16, claimed=100, kind=1, data=b"\0" * 200, extensible=False):
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, rate, (rate * block) % 2**32, block, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, 0, kind) + bytes.fromhex("000000001000800000aa00389b71")
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", claimed) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it ends in its header"),
        (b"RIFF", "it ends in its header"),
        (b"OggS" + b"\0" * 100, "it does not begin as WAV files do"),
        (header(claimed=2**32 - 2), "it claims 2147483647 samples, for which it is too small"),
        (header(claimed=1000), "it claims 500 samples, for which it is too small"),
        (header(claimed=0, data=b""), "it has no samples"),
        (header(rate=0), "it claims 1 channels at 0 Hz"),
        (header(rate=2**32 - 1), "it claims 1 channels at 4294967295 Hz"),
        (header(channels=0), "channels"),
        (header(channels=1000, claimed=2000, data=b"\0" * 2000), "it claims 1000 channels"),
        (header(bits=12), "it claims 1 bytes for 1 samples of 2"),
        (header()[:30], "it ends in its header"),
        (header()[:12] + header()[36:], "it does not say what its samples are"),
        (header()[:12] + b"LIST\0\0\0\0" * 1000 + header()[12:], "it has more than 1000 parts"),
        (header()[:36] + b"LIST\xff\xff\xff\x7f" + header()[36:], "it ends in its header"),
        (header(claimed=200)[:-1], "it claims 100 samples"),
    ],
)
def test_malformed_files_are_named(tmp_path, content, why):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match=rf"the WAV file '.*a.wav' cannot be read: .*({why})"):
        read_wave(tmp_path / "a.wav", RATE, RATE)


def test_no_more_is_read_than_a_clip_is_long(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(header(claimed=2**32 - 2))
    os.truncate(path, 2**33)  # of holes
    assert len(read_wave(path, RATE, 800)) == 800


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("extensible", [False, True])
def test_floats_are_read(tmp_path, bits, extensible):
    values = np.stack([tone(440, 0.1), tone(700, 0.1)], 1)
    data = values.astype(f"<f{bits // 8}").tobytes()
    (tmp_path / "a.wav").write_bytes(header(2, bits=bits, claimed=len(data), kind=3, data=data, extensible=extensible))
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav", RATE, 1600), values.mean(1), atol=1e-7)


def test_integers_in_an_extensible_format_are_read(tmp_path):
    """As other programs write 24 bits."""
    data = (tone(440, 0.1) * 2**31).astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    (tmp_path / "a.wav").write_bytes(header(bits=24, claimed=len(data), data=data, extensible=True))
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav", RATE, 1600), tone(440, 0.1), atol=1e-6)


@pytest.mark.parametrize(("kind", "bits"), [(7, 8), (3, 16), (1, 64), (1, 0), (2, 4)])
def test_other_formats_are_not_broken_but_not_read(folder, kind, bits):
    (folder / "low" / "other.wav").write_bytes(header(kind=kind, bits=bits))
    with pytest.raises(DataError, match=rf"has samples of {bits} bits in format {kind}; .*; convert it"):
        load(folder, skip_broken=True)


# Spectrograms ---------------------------------------------------------------------------------------------------------


def test_a_spectrogram_is_what_the_formula_says():
    small = LogMel(1000, 0.1, 4, 0.03, 0.02)
    clip = np.random.default_rng(0).normal(size=100)
    assert (small.samples, small.frames, small.shape) == (100, 4, (1, 4, 4))
    highest = 2595 * np.log10(1 + 500 / 700)
    corners = [700 * (10 ** (highest * m / 5 / 2595) - 1) for m in range(6)]
    wanted = np.zeros((4, 4))
    for frame in range(4):
        cut = [clip[20 * frame + n] * (0.5 - 0.5 * np.cos(2 * np.pi * n / 30)) for n in range(30)]
        for band in range(4):
            left, middle, right = corners[band : band + 3]
            for k in range(17):
                power = abs(sum(x * np.exp(-2j * np.pi * k * n / 32) for n, x in enumerate(cut))) ** 2
                frequency = k * 1000 / 32
                weight = min((frequency - left) / (middle - left), (right - frequency) / (right - middle))
                wanted[band, frame] += max(weight, 0) * power
    np.testing.assert_allclose(small.of(clip)[0], np.log(wanted + 1e-6), rtol=1e-5)


def test_a_tone_is_in_its_band():
    # 1000 Hz are 1000 mel, of 2840 at the highest
    band = USUAL.of(tone(1000))[0].mean(1).argmax()
    assert band == round(41 * 1000 / 2840) - 1
    np.testing.assert_allclose(USUAL.of(np.zeros(RATE)), np.log(1e-6), rtol=1e-6)


def test_bands_without_a_frequency_are_refused(folder):
    with pytest.raises(DataError, match=r"data.audio.mels: 400 bands are too many for frames of 400 samples"):
        load(folder, audio={"mels": 400}).test.read(slice(1))


# Folders --------------------------------------------------------------------------------------------------------------


def test_folders_are_classes(folder):
    data = load(folder)
    assert data.classes == ("high", "low")
    assert data.pixels is None
    everything = data.everything()
    assert everything.inputs.shape == (10, 1, 40, 98)
    assert everything.labels.bincount().tolist() == [5, 5]
    loudest = everything.inputs[:, 0].mean(2).argmax(1)
    assert all((band > 20) == (label == 0) for band, label in zip(loudest, everything.labels, strict=True))
    assert not load(folder, "none").test.known
    with pytest.raises(DataError, match="has class labels; the task needs boxes"):
        load(folder, "boxes")


def test_all_is_the_same_with_any_number_of_threads(folder):
    alone, several = load(folder, workers=0).test, load(folder, workers=3).test
    assert all((x == y).all() for x, y in zip(alone.batches(2), several.batches(2), strict=True))


def test_keys_say_what_is_heard(folder):
    data = load(folder, audio={"rate": "8 kHz", "seconds": "500 ms", "mels": 20, "window": "32 ms", "hop": "16 ms"})
    assert data.test.inputs.shape == (5, 1, 20, 1 + (4000 - 256) // 128)
    assert len(load(folder, limit=4).everything()) == 4


def test_parts_are_folders(tmp_path):
    for place, part in enumerate(["train", "validation", "test"]):
        for name in ("no", "yes"):
            write(tmp_path / part / name / "a.wav", tone(300 + 50 * place + 500 * (name == "yes")))
    data = load(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 2, 2]
    assert data.classes == ("no", "yes")
    write(tmp_path / "test" / "no" / "b.wav", tone(300))
    with pytest.raises(DataError, match="the parts overlap: 1 of 2 samples of 'train', 1 of 3 samples of 'test'"):
        load(tmp_path)


def test_speech_commands_lists_say_what_is_not_for_training(folder):
    write(folder / "_background_noise_" / "noise.wav", tone(50, 3))
    (folder / "validation_list.txt").write_text("low/0.wav\nhigh/1.WAV\n")
    (folder / "testing_list.txt").write_text("low/2.wav\nlow/3.wav\nhigh/2.WAV\n")
    data = load(folder)
    assert data.classes == ("high", "low")
    assert [part.labels.tolist() for part in (data.train, data.validation, data.test)] == [
        [0, 0, 0, 1, 1],
        [0, 1],
        [0, 1, 1],
    ]
    assert len(load(folder, "none").test) == 3
    for line, why in (("low/9.wav", "does not exist"), ("low/0.wav", "is in the part 'validation' already")):
        (folder / "testing_list.txt").write_text(f"high/2.WAV\n{line}\n")
        with pytest.raises(DataError, match=rf"testing_list.txt', line 2: the file '{line}' {why}"):
            load(folder)
    (folder / "testing_list.txt").unlink()
    with pytest.raises(DataError, match=r"testing_list.txt' does not exist"):
        load(folder)


def test_flat_folders_need_no_labels(tmp_path):
    for number in range(4):
        write(tmp_path / f"{number}.wav", tone(300 + number))
    assert len(load(tmp_path, "none").everything()) == 4
    with pytest.raises(DataError, match="one a class is expected"):
        load(tmp_path)


def test_broken_files_can_be_left_out(folder):
    (folder / "low" / "1.wav").write_bytes(header(claimed=1000))
    with pytest.raises(DataError, match=r"data.source: the WAV file '.*low/1.wav' cannot be read"):
        load(folder).everything().read(slice(None))
    with pytest.warns(UserWarning, match=r"1 of 10 WAV files cannot be decoded and are left out: low/1.wav"):
        data = load(folder, skip_broken=True)
    assert data.everything().inputs.shape[0] == 9


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"audio": {"rate": "10 Hz"}}, "greater than or equal to 1000"),
        ({"audio": {"rate": 16000.5}}, "a whole number of samples a second is expected"),
        ({"audio": {"seconds": "20 ms"}}, "a window of 0.025 s is longer than a clip of 0.02 s"),
        ({"audio": {"hop": "1 us"}}, "at least 2 and 1"),
        ({"audio": {"mels": 0}}, "greater than or equal to 1"),
        ({"audio": {"volume": 11}}, "Extra inputs"),
        ({"audio": "loud"}, "valid dictionary"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys, why):
    with pytest.raises(ValidationError, match=why):
        DataSection(source="x", **keys)


def test_keys_of_images_are_refused_for_sounds_and_the_other_way_round(folder, tmp_path):
    for key, value in (("size", (4, 4)), ("mean", (0.5,))):
        with pytest.raises(DataError, match=f"data.{key}: sounds are no images"):
            load(folder, **{key: value})
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "images" / name / "a.png")
    for source in (tmp_path / "images", "digits", "own:data"):
        with pytest.raises(DataError, match=r"data.audio: '.*' is no folder of WAV files"):
            load(source, audio={"mels": 20})
