"""The laboratory's build: what is there is kept, and what cannot be made yet is said."""

from pathlib import Path

import pytest

from lab import build, store


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with nothing in it."""
    monkeypatch.setattr(store, "WEIGHTS", tmp_path)
    monkeypatch.setattr(store, "RUNS", tmp_path)
    return tmp_path


def test_every_stage_comes_after_what_it_needs():
    names = [stage.name for stage in build.STAGES]
    assert all(names.index(need) < names.index(stage.name) for stage in build.STAGES for need in stage.needs)


def test_nothing_is_made_where_all_is_there(capsys: pytest.CaptureFixture[str]):
    build.main([])
    assert capsys.readouterr().out.splitlines() == [f"{stage.name}: there already" for stage in build.STAGES]


def test_a_stage_says_what_it_needs(empty: Path):
    with pytest.raises(SystemExit, match="base needs clip, vae, to be built first"):
        build.main(["base"])
    assert not list(empty.iterdir())


def test_several_stages_say_what_nobody_builds(empty: Path):
    with pytest.raises(SystemExit, match="fine-tuned needs base, which nobody is building"):
        build.main(["fine-tuned", "controlnet"])


def test_an_unknown_stage_is_refused_by_name(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        build.main(["bases"])
    assert "no stage is called bases" in capsys.readouterr().err


def test_weights_are_whole_or_not_there(empty: Path):
    with pytest.raises(AttributeError):
        store.save("broken", {"weight": "not a tensor"})  # type: ignore[dict-item]
    assert not list(empty.iterdir())
