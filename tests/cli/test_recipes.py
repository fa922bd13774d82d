from click.testing import CliRunner

from cli.main import galtrans


def test_lists_a_recipe_with_its_networks_steps_and_losses():
    result = CliRunner().invoke(galtrans, ["recipes", "two_step"])
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines[0].startswith("two_step: the paper's model")
    assert lines[1] == "14,533,074 parameters; batches of 24; 64 and 136 pixels; with pairs"
    assert "generator 1,019,269 + 1,425,093" in lines
    assert lines[-3:] == ["step 2 of 2: 60,000 iterations", "generator: cycle + identity", ""]


def test_lists_all_by_default():
    result = CliRunner().invoke(galtrans, ["recipes"])
    names = [line.split(":")[0] for line in result.output.splitlines() if line and line[0] != " "]
    assert names[:3] == ["two_step", "pix2pix", "cyclegan"]
    assert "augmented_cyclegan_repaired" in names
    assert "64 and 64 pixels; no pairs needed" in result.output


def test_an_unknown_name_is_refused_with_the_known_ones():
    result = CliRunner().invoke(galtrans, ["recipes", "stargan"])
    assert result.exit_code == 2
    assert "'stargan'; known are two_step, pix2pix" in result.output


def test_a_card_is_printed_or_written(tmp_path, galtrans, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = galtrans("card", "sdss-cfhtls")
    assert code == 0
    assert out.startswith('---\nlibrary_name: "galtrans"\n')
    assert galtrans("card", "sdss-cfhtls", "--out", "README.md") == (0, "Wrote README.md.\n", "")
    assert (tmp_path / "README.md").read_text() == out
    code, _, err = galtrans("card", "sdss-cfhtls", "--out", "README.md")
    assert code == 2
    assert "README.md exists already; choose another --out or pass --overwrite" in err
    code, _, err = galtrans("card", "nothing")
    assert code == 2
    assert "'nothing' is neither a folder nor a built-in model" in err
    code, _, err = galtrans("card", "sdss-cfhtls", "--report", "nowhere")
    assert code == 2
    assert "'--report': nowhere does not exist" in err
