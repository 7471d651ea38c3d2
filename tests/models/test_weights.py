"""Whether pretrained weights can be had: what is asked, and what is said."""

import urllib.error
import urllib.request

import pytest

from alasca_pl.models.weights import require_timm_weights


@pytest.fixture
def asked(monkeypatch):
    """Addresses that were asked for; an answer is an error to raise, or None."""
    addresses: list[str] = []
    answers: list[Exception] = []

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *arguments):
            return None

    def open_address(request, timeout):
        addresses.append(request.full_url)
        for answer in answers:
            raise answer
        return Answer()

    monkeypatch.setattr(urllib.request, "urlopen", open_address)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments: None)
    return addresses, answers


def test_weights_that_can_be_reached_are_accepted(asked):
    addresses, answers = asked
    require_timm_weights("resnet18", {})
    assert len(addresses) == 1 and addresses[0].endswith("timm/resnet18.a1_in1k/resolve/main/model.safetensors")
    # An answer that is no file is left to timm, which looks for others.
    answers.append(urllib.error.HTTPError(addresses[0], 404, "not found", {}, None))  # type: ignore[arg-type]
    require_timm_weights("resnet18", {})


def test_nothing_is_asked_for_files_that_are_here(asked, monkeypatch, tmp_path):
    own = tmp_path / "own.safetensors"
    with pytest.raises(ValueError, match=r"no file .*own\.safetensors with weights of resnet18"):
        require_timm_weights("resnet18", {"pretrained_cfg_overlay": {"file": str(own)}})
    own.touch()
    require_timm_weights("resnet18", {"pretrained_cfg_overlay": {"file": str(own)}})
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda hub, file: f"/cache/{file}")
    require_timm_weights("resnet18", {})
    assert asked[0] == []


def test_what_cannot_be_reached_is_said_with_the_way_out(asked, monkeypatch):
    addresses, answers = asked
    answers.append(urllib.error.URLError("no route"))
    with pytest.raises(
        ValueError, match=r"weights of resnet18 \(timm/resnet18.a1_in1k\) .* no route; connect to the internet"
    ):
        require_timm_weights("resnet18", {})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"HF_HUB_OFFLINE is set; .*model\.backbone\.pretrained=false"):
        require_timm_weights("resnet18", {})
    assert len(addresses) == 1


def test_a_model_without_weights_is_refused(asked):
    with pytest.raises(
        ValueError, match=r"has no pretrained weights of 'vit_tiny_patch16_384_none'; set model\.backbone"
    ):
        require_timm_weights("vit_tiny_patch16_384_none", {})
