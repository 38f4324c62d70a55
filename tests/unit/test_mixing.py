"""Two specs with one name: another model is refused, other settings are told, and the rest is no difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Isthmus
from sample_records import make_record, make_spec

from core.atlas.chunks import PlannedPair
from core.atlas.keys import pair_keys, settings_digest
from core.atlas.mixing import check_mixing
from core.atlas.plan_files import SPEC_PATH
from core.atlas.records import to_ndjson
from core.atlas.selection import resolve_settings, select_pairs
from core.errors import SpecError
from core.gallery.publish import publish
from core.models.model import Model
from core.models.models import digest
from core.spec import AtlasSpec
from core.store.store import DirectoryStore

NEURONS = ["block5:0-2"]
STEPS = {"frames": 3, "size_px": 64}  # as `make_record` writes


@pytest.fixture(params=["published", "unpublished"])
def store(request: pytest.FixtureRequest, tmp_path: Path, model: Model) -> DirectoryStore:
    """An atlas of three pairs with three frames of 64 px."""
    store = DirectoryStore(tmp_path / "small")
    store.replace(SPEC_PATH, spec_of().to_json())
    write_records(store, "a", model, spec_of())
    if request.param == "published":
        publish(store, "small")
    return store


def write_records(store: DirectoryStore, chunk: str, model: Model, spec: AtlasSpec, **changes: Any) -> None:
    """Write the records of all pairs of a spec, as rendering a chunk does, without pictures."""
    settings = resolve_settings(spec.render, model)
    facts = {"model_digest": digest(model), "settings_digest": settings_digest(settings)} | changes
    keys = pair_keys(select_pairs(spec, model), digest(model), settings)
    planned = [PlannedPair(pair, key) for pair, key in keys]
    records = [make_record(each, settings=settings.model_dump(mode="json"), **facts) for each in planned]
    store.replace(f"records/{chunk}.ndjson", to_ndjson(records))


def spec_of(**changes: Any) -> AtlasSpec:
    render = STEPS | {"alignment": {"layers": None}} | changes.pop("render", {})
    return make_spec(changes.pop("neurons", NEURONS), render=render, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"neurons": ["block5:0-9"]},
        {"neurons": ["stem:0-1"]},
        {"compute": {"processes": 1, "chunk_pairs": 1}},
        {"storage": {"retries": "adaptive"}},
        {"output": "elsewhere"},
    ],
)
def test_other_pairs_and_other_machines_are_no_difference(store: DirectoryStore, changes: dict[str, Any]) -> None:
    """A bigger spec over the same atlas goes on without a word."""
    assert check_mixing(spec_of(**changes), store) == ()


def test_an_atlas_without_records_can_become_anything(tmp_path: Path) -> None:
    """A mistake in a spec that has rendered nothing is corrected. One line says so: its build may be running."""
    store = DirectoryStore(tmp_path)
    assert check_mixing(spec_of(), store) == ()
    store.replace(SPEC_PATH, spec_of(neurons=["stem:0-9"], compute={"processes": 3}).to_json())
    assert check_mixing(spec_of(), store) == ()
    store.replace(SPEC_PATH, spec_of(model={"name": "keras:VGG16"}, render={"steps": 9}).to_json())
    differences = "model.name 'keras:VGG16', here 'efficientnet-lite0'; render.steps 9, here 64"
    assert check_mixing(spec_of(), store) == (
        f"{store}: was begun with another spec ({differences}), which has rendered nothing yet; "
        "if its build is running, stop it, or give the spec another name or output",
    )


def test_other_settings_are_told_with_their_names(store: DirectoryStore) -> None:
    """The line has both values, and says how to keep them apart. Only a few differences are named."""
    [told] = check_mixing(spec_of(render={"steps": 96, "alignment": {"decay": 4}}), store)
    assert told == (
        f"{store}: has pairs with other settings (render.steps 64, here 96; render.alignment.decay 5.0, here 4.0); "
        "new pairs are added beside them. To keep them apart, give the spec another name or output"
    )
    [told] = check_mixing(spec_of(render={"objective": {"cosine_power": 2}}), store)
    assert "has pairs with other settings (render.objective.cosine_power 0.0, here 2.0); new" in told
    many = {"steps": 96, "seed": 1, "frames": 4, "size_px": 128, "sd": 1, "learning_rate": 1}
    [told] = check_mixing(spec_of(render=many), store)
    assert "; ...); new pairs" in told

    walk = check_mixing(spec_of(strip="walk"), store)
    assert [line.partition(";")[0] for line in walk] == [f"{store}: has strips of the other kind (strip: pair)"]


def test_settings_that_were_told_once_are_not_told_again(store: DirectoryStore, model: Model) -> None:
    """Each of two specs that share an atlas may be built again."""
    other = spec_of(render={"steps": 96})
    write_records(store, "b", model, other)
    publish(store, "small")

    assert check_mixing(other, store) == check_mixing(spec_of(), store) == ()


@pytest.mark.parametrize("for_machines", [True, False])
def test_another_model_is_refused_before_anything_is_written(
    isthmus: Isthmus, tmp_path: Path, store: DirectoryStore, for_machines: bool
) -> None:
    """The line names both models and what to do, also if the other model could not be loaded."""
    spec = {"name": "small", "output": str(tmp_path), "pairs": {"select": "all", "neurons": ["mixed4a:0-1"]}}
    spec["model"] = {"name": "inception-v1", "file": "gone.pb"}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(spec))
    before = {path: store.read(path) for path in store.list("")}

    for command in ("plan", "build"):
        said = isthmus(command, "other.yaml", *(["--json"] if for_machines else []))

        assert said.code == 2
        told = f"model.name: the atlas at {store} has pairs of efficientnet-lite0, this spec asks for inception-v1"
        assert said.err == f"isthmus: {told}; give the spec another name or output\n"
        assert not for_machines or json.loads(said.out)["field"] == "model.name"
    assert {path: store.read(path) for path in store.list("")} == before


def test_other_weights_are_refused_if_the_spec_names_them_and_told_if_not(store: DirectoryStore, model: Model) -> None:
    """A newer version of Isthmus, which may read the same weights in another way, builds an old atlas on."""
    write_records(store, "a", model, spec_of(), model_digest="0" * 64)
    old = json.loads(spec_of().to_json())

    [told] = check_mixing(spec_of(), store)
    assert told.startswith(
        f"{store}: has pairs of other weights of efficientnet-lite0, or of an older version of Isthmus;"
    )

    old["model"]["sha256"] = "1" * 64
    store.replace(SPEC_PATH, json.dumps(old).encode())
    with pytest.raises(
        SpecError, match=r"^model.sha256: the atlas at .* was built with '1+\.\.\.1+', this spec has other "
    ):
        check_mixing(spec_of(), store)


def test_a_plan_for_machines_has_the_warnings(isthmus: Isthmus, tmp_path: Path, store: DirectoryStore) -> None:
    """They are on standard error too, one line each."""
    spec = json.loads(spec_of(output=str(tmp_path), render={"steps": 9}, compute={"engine": "work-pool"}).to_json())
    (tmp_path / "small.yaml").write_text(json.dumps(spec))

    said = isthmus("plan", "small.yaml", "--json")

    [told] = json.loads(said.out)["warnings"]
    assert (said.code, said.err) == (0, f"isthmus: warning: {told}\n")
    assert "render.steps 64, here 9" in told
