import zlib
from pathlib import Path

import numpy as np
import pytest

from survey_tools.errors import RunError
from translator.weights.tf_checkpoint import files_of, find_prefix, read_tf_checkpoint

REAL = Path(__file__).parents[3].parent / "shared" / "golden" / "checkpoint_two_step" / "-60000"


@pytest.fixture
def variables():
    random = np.random.default_rng(0)
    kinds = ("f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "?")
    named = {f"net/{kind}/weights": (random.normal(size=(2, 3)) * 9).astype(kind) for kind in kinds}
    named["net/scalar"], named["net/empty"] = np.float32(0.9), np.zeros((0, 3), np.float32)
    return named | {f"net/layer{i:03}/biases": random.normal(size=i).astype("f4") for i in range(200)}


@pytest.fixture
def prefix(tmp_path, tf_bundle, variables):
    return tf_bundle.write(tmp_path / "model-7", variables)


def index_of(prefix):
    return prefix.with_name(f"{prefix.name}.index")


def values_of(prefix):
    return prefix.with_name(f"{prefix.name}.data-00000-of-00001")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        wanted = np.asarray(expected[name])
        assert (array.dtype, array.shape, array.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())


@pytest.mark.parametrize("shards", [1, 3])
def test_every_type_comes_back_bit_for_bit_from_any_number_of_files(tmp_path, tf_bundle, variables, shards):
    prefix = tf_bundle.write(tmp_path / "-60000", variables, shards=shards)
    assert_same(read_tf_checkpoint(prefix), variables)
    assert len(files_of(prefix)) == 1 + shards


def test_a_checkpoint_that_tensorflow_wrote():
    if not REAL.with_name("-60000.index").exists():
        pytest.skip("the checkpoint that TensorFlow wrote is not here (../shared/golden)")
    found = read_tf_checkpoint(REAL)
    assert len(found) == 172
    np.testing.assert_equal(found["beta1_power"], np.float32(0.9))
    weights = {name: array for name, array in found.items() if name.endswith(("weights", "kernel"))}
    assert len(weights) == 50
    for name, array in weights.items():  # the rule by which they were made
        rule = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(array.shape)
        np.testing.assert_array_equal(array, (rule / np.sqrt(np.prod(array.shape[:-1]))).astype(np.float32))
    assert not found["generator01/conv1/weights/Adam"].any()


@pytest.mark.parametrize("name", ["model-7", "model-7.index", "model-7.meta", "model-7.data-00000-of-00001", "."])
def test_what_means_the_checkpoint(prefix, name):
    assert find_prefix(prefix.parent / name) == prefix


def test_a_folder_of_several_needs_its_state_file(prefix, tf_bundle):
    tf_bundle.write(prefix.with_name("model-8"), {"a": np.zeros(1)})
    with pytest.raises(RunError, match=r"holds 2 TensorFlow checkpoints \(model-7, model-8\); give the prefix"):
        find_prefix(prefix.parent)
    state = prefix.with_name("checkpoint")
    state.write_text('model_checkpoint_path: "/home/someone/model-7"\nall_model_checkpoint_paths: "model-8"\n')
    assert find_prefix(prefix.parent) == prefix
    state.write_bytes(b"\xff\x00 nothing")
    with pytest.raises(RunError, match="holds 2"):
        find_prefix(prefix.parent)


def test_nothing_there(tmp_path):
    with pytest.raises(RunError, match="holds 0 TensorFlow checkpoints; give the prefix"):
        find_prefix(tmp_path)
    with pytest.raises(RunError, match=r"-60000 is no TensorFlow checkpoint: -60000\.index is not there; give"):
        find_prefix(tmp_path / "-60000")


def assert_refused(prefix, match):
    with pytest.raises(RunError, match=match) as caught:
        read_tf_checkpoint(prefix)
    assert "\n" not in str(caught.value)
    assert "again, or give its variables as an .npz" in str(caught.value)


def test_a_missing_file_of_values(prefix):
    values_of(prefix).unlink()
    assert_refused(prefix, r"model-7\.data-00000-of-00001 is missing")


def test_a_truncated_file_of_values(prefix):
    values_of(prefix).write_bytes(values_of(prefix).read_bytes()[:-1])
    assert_refused(prefix, r"data-00000-of-00001 .* has \d+ bytes, where .* ends at byte \d+: it is truncated")


def test_a_changed_value(prefix):
    content = bytearray(values_of(prefix).read_bytes())
    content[1] ^= 1
    values_of(prefix).write_bytes(content)
    assert_refused(prefix, "the checksum of net/f4/weights differs")


def test_an_index_cut_anywhere_is_refused(tmp_path, tf_bundle):
    prefix = tf_bundle.write(tmp_path / "small", {"net/a": np.ones((2, 2), np.float32), "net/b": np.zeros(3)})
    content = index_of(prefix).read_bytes()
    for length in range(len(content)):
        index_of(prefix).write_bytes(content[:length])
        assert_refused(prefix, "truncated or something else")


def test_an_index_changed_anywhere_is_refused_or_reads_the_same(tmp_path, tf_bundle):
    variables = {"net/a": np.ones((2, 2), np.float32), "net/b": np.zeros(3)}
    prefix = tf_bundle.write(tmp_path / "small", variables)
    content, refused = index_of(prefix).read_bytes(), 0
    for place in range(len(content)):
        index_of(prefix).write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            assert_same(read_tf_checkpoint(prefix), variables)
        except RunError:
            refused += 1
    unread = 40 + 13  # the padding of the footer, and the block of meta data, hold nothing
    assert refused >= len(content) - unread


def test_records_of_nonsense_with_right_checksums_are_refused(tmp_path, tf_bundle):
    random = np.random.default_rng(1)
    prefix = tf_bundle.write(tmp_path / "small", {"net/a": np.ones((2, 2), np.float32)})
    header = tf_bundle.number(1, 1)
    good = tf_bundle.entry(np.ones((2, 2), np.float32), 0)
    for _ in range(500):
        records = [bytearray(header), bytearray(good)]
        changed = records[random.integers(2)]
        for place in random.integers(len(changed), size=2):
            changed[place] = random.integers(256)
        index_of(prefix).write_bytes(tf_bundle.table({b"": bytes(records[0]), b"net/a": bytes(records[1])}))
        try:
            found = read_tf_checkpoint(prefix)
        except RunError:
            continue
        assert found["net/a"].nbytes <= 16


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"compression": 1}, "it is compressed, which galtrans does not read"),
        ({"more": b"\x3a\x00"}, r"net/a is kept in slices \(a partitioned variable\)"),
        ({"code": 7}, "net/a is of TensorFlow's data type 7"),
        ({"code": 2}, r"net/a has 16 bytes of values, where its shape \(2, 2\) takes 32"),
        ({"header": b"\x10\x01"}, "big-endian"),
        ({"header": b"\x1a\x02\x10\x02"}, "needs a reader of version 2"),
        ({"header": b"\x08\x00"}, "it has 0 files of values"),
        ({"more": b"\x18\x05"}, "net/a has no shape, or is in file 5 of 1"),
    ],
)
def test_what_is_not_read_is_refused_with_the_reason(tmp_path, tf_bundle, options, match):
    prefix = tf_bundle.write(tmp_path / "odd", {"net/a": np.ones((2, 2), np.float32)}, **options)
    assert_refused(prefix, match)


def test_another_table_or_file_is_not_taken_for_an_index(prefix, tf_bundle):
    index_of(prefix).write_bytes(tf_bundle.table({b"key": b"value"}))
    assert_refused(prefix, "has no header, so it is a table of something else")
    index_of(prefix).write_bytes(b"PK\x03\x04" * 100)
    assert_refused(prefix, "truncated or something else")
