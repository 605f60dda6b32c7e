"""A map of images: what a killed run has left, and what is never replaced."""

import pytest

from forametric.analysis.mapping import map_images
from forametric.errors import InputError


@pytest.fixture
def killed(model_folder, shells_folder, tmp_path, monkeypatch):
    """The path of a map whose run was stopped after its layout was saved."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("forametric.analysis.mapping.Morphospace.plot", stop)
        with pytest.raises(KeyboardInterrupt):
            map_images(model_folder, shells_folder, tmp_path / "m.png")
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]
    return tmp_path / "m.png"


def test_the_same_command_finishes_what_a_killed_one_has_begun(killed, model_folder, shells_folder):
    map_images(model_folder, shells_folder, killed)
    assert killed.stat().st_size > 1000
    with pytest.raises(InputError, match=r"m\.png exists already"):
        map_images(model_folder, shells_folder, killed)


def test_the_layout_of_another_map_is_kept(killed, model_folder, shells_folder):
    layout = killed.with_suffix(".parquet")
    before = layout.read_bytes()
    with pytest.raises(InputError, match=r"m\.parquet exists already"):
        map_images(model_folder, shells_folder, killed, seed=1)
    assert layout.read_bytes() == before
    layout.write_text("mine")
    with pytest.raises(InputError, match=r"m\.parquet exists already"):
        map_images(model_folder, shells_folder, killed)
    assert layout.read_text() == "mine"
    assert not killed.exists()
    map_images(model_folder, shells_folder, killed, overwrite=True)
    assert killed.is_file()
