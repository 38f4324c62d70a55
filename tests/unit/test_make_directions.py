"""The example of docs/directions.md: from photographs to directions, and from directions to an atlas."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from walks import RENDER, build

from core.atlas.recorded import read_records
from core.spec_file import parse_spec
from core.store.store import DirectoryStore

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_directions", DOCS / "make_directions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_factors_are_the_groups_of_channels_that_are_excited_together(script: ModuleType) -> None:
    """From sums of four groups, each a mix of channels of its own, the factorisation finds the four, of length 1."""
    dice = np.random.default_rng(2)
    groups = np.kron(np.eye(4), np.ones(5)) * dice.uniform(0.5, 2, size=20)
    table = (dice.exponential(size=(400, 4)) * (dice.uniform(size=(400, 4)) < 0.5)) @ groups

    found = script.factors(table.astype(np.float32), 4, np.random.default_rng(0))

    assert found.min() >= 0
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    cosines = found @ (groups / np.linalg.norm(groups, axis=1, keepdims=True)).T
    assert (cosines.max(axis=0) > 0.99).all()


def test_the_example_makes_directions_and_its_spec_renders_strips_between_them(
    script: ModuleType, tmp_path: Path
) -> None:
    """The page's spec, with fewer directions of an earlier layer and small frames, gives strips of excited neurons."""
    file = tmp_path / "directions.npz"
    script.main(["stem", str(file), "--count", "3", "--crops", "3"])
    [written] = [
        block
        for block in re.findall(r"```yaml\n(.*?)```", (DOCS / "directions.md").read_text(), re.DOTALL)
        if "parts" in block
    ]
    example = yaml.safe_load(written)
    example["model"]["derived"]["parts"] |= {"of": "stem", "file": str(file)}
    example["pairs"] |= {"neurons": ["parts:0-2"], "k": 1}
    example["render"] |= RENDER | {"steps": 16, "alignment": {"weight": 0}}
    store = DirectoryStore(tmp_path / "atlas")

    build(parse_spec(example, "directions.md"), store)

    assert np.load(file)["directions"].shape == (3, 32)
    records = read_records(store, view=lambda record: record).values()
    assert len(records) == 2
    for record in records:
        assert record.status == "done"
        assert record.settings["objective"] == {"cosine_power": 1}
        assert record.activation_a[0] > record.noise_a
        assert record.activation_b[-1] > record.noise_b


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("stem_pre_relu", "layer: expected one behind a ReLU such as block9_expand, stem_pre_relu has negative"),
        ("stme", "layer: expected a layer of efficientnet-lite0, got 'stme'; similar: stem"),
    ],
)
def test_another_layer_is_refused_in_one_line(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], layer: str, message: str
) -> None:
    """The layer must exist and have no negative activations; nothing is written."""
    with pytest.raises(SystemExit) as ended:
        script.main([layer, str(tmp_path / "directions.npz"), "--crops", "1"])

    assert ended.value.code == 2
    assert f"error: {message}" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "directions.npz").exists()
