import numpy as np
import pytest

from translator.report.sample_files import SampleFiles, work_folder


def files(folder, **arrays):
    return SampleFiles(("g", "r"), 0.2, 0.4, {}).add(folder, **arrays)


def test_targets_stand_for_translations_until_these_are_there(tmp_path):
    target = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2)
    before = files(tmp_path, target=target, sigma=np.ones((2, 2)))
    after = before.add(tmp_path / "run", output=-target).also(signal="target")
    np.testing.assert_array_equal(before.open().output, target)
    np.testing.assert_array_equal(after.open().output, -target)
    np.testing.assert_array_equal(after.open().signal, target)


def test_some_of_the_galaxies_have_no_draws(tmp_path):
    whole = files(tmp_path, target=np.zeros((3, 2, 4, 4)), sigma=np.arange(6.0).reshape(3, 2), draws=np.zeros((5, 3)))
    few = whole.take(tmp_path / "few", np.array([2])).open()
    assert (few.target.shape, few.sigma.tolist(), few.draws) == ((1, 2, 4, 4), [[4.0, 5.0]], None)


def interrupt(out):
    with work_folder(out) as work:
        (work / "target.npy").touch()
        raise KeyboardInterrupt


def test_an_interrupted_report_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "a" / "report")
    assert not (tmp_path / "a" / "report").exists()


def test_a_folder_that_was_there_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path)
    assert tmp_path.exists()
    with work_folder(tmp_path) as work:
        (tmp_path / "report.html").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert not work.exists()
