"""Opening a checkpoint: what this machine has, what fits, and one sentence for everything that can be wrong."""

from __future__ import annotations

import errno
import gc
import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import duet_core
from app import gpu, shelf
from app.menu import model_choices
from app.messages import downloading
from app.play import Play
from app.settings import Settings
from app.shelf import Downloading, Shelf, downloaded
from duet_core import devices, hub, memory, opening
from duet_core.__main__ import main
from duet_core.backbones import FAMILIES
from duet_core.devices import Target, choose_target
from duet_core.errors import DownloadStopped, ModelError, ModelNotFound, ModelTooLarge, ModelUnreachable
from duet_core.listing import models_table
from duet_core.opening import prepare
from duet_core.registry import suggested
from tests.conftest import TINY

CPU = Target(torch.device("cpu"), torch.float32)
GPU = Target(torch.device("cuda", 0), torch.bfloat16)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A whole small checkpoint, to be damaged."""
    return Path(shutil.copytree(TINY, tmp_path / "small"))


def sentence(place: Path | str, kind: type[ModelError] = ModelError, **how) -> str:
    """Return the one sentence that opening ends in; it never tells where on this machine a folder is."""
    with pytest.raises(kind) as caught:
        duet_core.open_model(str(place), device=how.pop("device", "cpu"), **how)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".")
    assert not Path(place).is_absolute() or str(Path(place).parent) not in said
    return said


# Devices and forms


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"device": "xla"}, "device 'xla' is not supported"),
        ({"device": "cpu:3"}, "'cpu:3' is not on this machine"),
        ({"dtype": "int3"}, "no dtype 'int3'; choose auto, float32, bfloat16 or float16"),
        ({"quantize": "2bit"}, "no quantisation '2bit'"),
        ({"quantize": "4bit"}, "needs a CUDA device and this is 'cpu'"),
        ({"attention": "linear"}, "no attention 'linear'"),
        ({"attention": "flash_attention_2"}, "needs a CUDA device and this is 'cpu'"),
    ],
)
def test_what_this_machine_cannot_do_is_one_sentence(how, words):
    assert words in sentence("duet-mini", **how)


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, of which the second has more free memory."""
    free = [5_000_000_000, 9_000_000_000]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[getattr(device, "index", device)], 0))


def test_auto_takes_the_gpu_with_most_free_memory(gpus):
    first, second = (torch.device("cuda", number) for number in range(2))
    assert choose_target() == Target(second, torch.bfloat16, beside=(first,))
    assert choose_target("cuda:1") == Target(second, torch.bfloat16)
    with pytest.raises(ModelError, match="'cuda:9' is not on this machine, which has only 2 CUDA devices"):
        choose_target("cuda:9")


def test_quantising_and_flash_attention_need_their_packages(gpus, monkeypatch):
    monkeypatch.setattr(devices, "has_package", lambda name: False)
    with pytest.raises(ModelError, match="pip install bitsandbytes"):
        choose_target(quantize="4bit")
    with pytest.raises(ModelError, match="flash_attn, which is not installed"):
        choose_target(attention="flash_attention_2")
    monkeypatch.setattr(devices, "has_package", lambda name: True)
    chosen = choose_target(quantize="8bit", attention="flash_attention_2")
    assert (chosen.quantize, chosen.attention) == ("8bit", "flash_attention_2")
    options = opening._options(chosen)
    assert options["device_map"] == {"": chosen.device} and options["quantization_config"].load_in_8bit


def test_without_a_gpu_auto_is_the_cpu_in_fp32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_target() == CPU
    assert choose_target(dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ModelError, match="'cuda' is not on this machine, which has no CUDA device"):
        choose_target("cuda")
    with pytest.raises(ModelError, match="'mps' is not on this machine"):
        choose_target("mps")


def test_eager_attention_may_be_asked_for():
    model = duet_core.open_model(str(TINY), device="cpu", attention="eager")
    assert model.backbone.needs_causal_mask


# Memory


def test_a_model_too_large_names_both_figures_and_what_would_fit():
    with pytest.raises(ModelTooLarge) as caught:
        memory.check_fits("llava-hf/llava-1.5-7b-hf", 7_063_427_072, CPU, 20_000_000_000)
    assert str(caught.value) == (
        "llava-hf/llava-1.5-7b-hf needs 31.4 GB of memory and 20.0 GB are free on CPU; open it with dtype bfloat16 or"
        " choose a smaller model."
    )
    assert memory.remedies(7_063_427_072, GPU, 12_000_000_000)[0] == "open it with quantize 8bit"
    assert memory.remedies(7_063_427_072, GPU, 7_000_000_000)[0] == "open it with quantize 4bit"
    assert memory.remedies(7_063_427_072, CPU, 1_000_000_000) == ["choose a smaller model"]
    memory.check_fits("duet-mini", 9_304_832, CPU, 1_000_000_000)


def test_a_model_too_large_for_one_gpu_is_spread_over_all(gpus):
    """Nine billion bytes are free on the chosen GPU, five on the other."""
    opened = opening.Opening("a model", "place", None, 2_000_000_000, choose_target())
    assert not opened.spread and opening._options(opened.target, opened.spread)["device_map"] == {
        "": torch.device("cuda", 1)
    }
    larger = replace(opened, elements=5_000_000_000)
    larger.check_memory()
    assert larger.spread and opening._options(larger.target, larger.spread)["device_map"] == "auto"
    with pytest.raises(ModelTooLarge, match=r"14\.0 GB are free on CUDA"):
        replace(opened, elements=9_000_000_000).check_memory()
    assert not replace(larger, target=choose_target("cuda:1")).spread, "who names a GPU wants that one"


def test_memory_is_checked_before_weights_are_read(monkeypatch):
    monkeypatch.setattr(opening, "free_bytes", lambda device: 1_000_000)
    monkeypatch.setattr(opening.AutoModelForImageTextToText, "from_pretrained", None)
    assert "1 MB are free on CPU" in sentence(TINY, ModelTooLarge)


def test_a_containers_limit_counts(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 50\n")
    assert memory.container_room(tmp_path) == 350
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.container_room(tmp_path) is None and memory.container_room(tmp_path / "none") is None
    assert memory.free_bytes(torch.device("cpu")) > 0


# Folders


def test_another_architecture(folder):
    config = json.loads((folder / "config.json").read_text())
    for change, words in (
        ({"model_type": "blip-2"}, "small is of type 'blip-2', which is not supported; choose a model of type llava"),
        ({"model_type": "made_up", "auto_map": {}}, "small is of type 'made_up', which is not supported"),
        ({"text_config": {"model_type": "gemma"}}, "clip_vision_model and gemma"),
        ({"text_config": {"model_type": "no-such"}}, "describes no model that can be built"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        assert words in sentence(folder)


def test_llavas_own_format(folder):
    own = {"model_type": "llava", "mm_vision_tower": "openai/clip-vit-large-patch14-336"}
    (folder / "config.json").write_text(json.dumps(own))
    assert "in LLaVA's own format" in sentence(folder)


def test_a_text_model(tmp_path):
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "text")
    assert sentence(tmp_path / "text").startswith("text is of type 'llama', which sees no pictures;")


def test_a_folder_without_a_processor_opens_and_says_what_it_lacks(tiny):
    with pytest.raises(ModelError, match="has no processor; add one to its folder to ask questions"):
        tiny.ask(None, "What?", duet_core.Plan(method="none"))


def test_no_configuration_or_a_broken_one(folder):
    (folder / "config.json").write_text("{")
    assert "config.json of small cannot be read" in sentence(folder)
    (folder / "config.json").write_text("[]")
    assert "holds no settings" in sentence(folder)
    (folder / "config.json").unlink()
    assert "small holds no config.json" in sentence(folder)


def test_adapters_without_a_base(folder):
    (folder / "adapter_config.json").write_text("{}")
    assert "The adapter_config.json of small names no base model" in sentence(folder)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/nowhere/base"}')
    said = sentence(folder)
    assert "The base model base of the adapters small is not here" in said and "nowhere" not in said


def test_half_a_weight_file(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert f"has {len(whole) // 2:,} of {len(whole):,} bytes; copy it again" in sentence(folder)
    for start in (b"", whole[:100], b"\xff" * 200, (5).to_bytes(8, "little") + b"{{{{{{"):
        path.write_bytes(start)
        assert "The weight file model.safetensors of small is cut off or damaged" in sentence(folder)
    path.unlink()
    assert "small holds no safetensors weights" in sentence(folder)


def test_a_shard_that_is_missing(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    places = {key: names[number % 2] for number, key in enumerate(weights)}
    for name in names:
        own = {key: weights[key] for key in weights if places[key] == name}
        save_file(own, folder / name, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert duet_core.open_model(str(folder), device="cpu").size.layers == 8
    (folder / names[1]).unlink()
    assert f"small lacks 1 of its 2 weight files, such as {names[1]}" in sentence(folder)
    index.write_text("{}")
    assert "The weight index of small cannot be read" in sentence(folder)


def test_tensors_that_are_missing_or_have_another_shape(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    gone = next(key for key in weights if "q_proj" in key)
    save_file({key: tensor for key, tensor in weights.items() if key != gone}, path, metadata={"format": "pt"})
    assert "small lacks 1 of its weights, such as" in sentence(folder)
    save_file(weights | {gone: torch.zeros(3, 3)}, path, metadata={"format": "pt"})
    assert "The weights of small do not fit its config.json" in sentence(folder)


# The hub


class Repository:
    """Stands for the hub library's three calls on one repository that is a copy of the small checkpoint."""

    def __init__(self, monkeypatch, folder: Path) -> None:
        self.folder, self.error, self.asked = folder, None, []
        monkeypatch.setattr(hub, "HfApi", lambda: self)
        monkeypatch.setattr("duet_core.checkpoint.HfApi", lambda: self)
        monkeypatch.setattr(hub, "hf_hub_download", self.one_file)
        monkeypatch.setattr(hub, "snapshot_download", self.snapshot)

    def model_info(self, name, **_):
        files = [SimpleNamespace(rfilename=path.name, size=path.stat().st_size) for path in self.folder.iterdir()]
        return SimpleNamespace(siblings=[*files, SimpleNamespace(rfilename="onnx/model.onnx", size=10**15)])

    def one_file(self, name, file):
        self._fail("config")
        return str(self.folder / file)

    def snapshot(self, name, tqdm_class=None, local_files_only=False, **_):
        if local_files_only:
            raise FileNotFoundError
        self.asked.append(name)
        self._fail("weights")
        total = sum(path.stat().st_size for path in self.folder.iterdir())
        with tqdm_class(total=0, initial=0, unit="B", desc="Downloading bytes") as bar, tqdm_class(total=3) as files:
            for _ in range(4):
                bar.update(total // 4)
                files.update(1)
        return str(self.folder)

    def _fail(self, at: str) -> None:
        if self.error and self.error[0] == at:
            raise self.error[1]


@pytest.fixture
def repository(monkeypatch, folder) -> Repository:
    return Repository(monkeypatch, folder)


def answer(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "https://example.org"))


def full_disk() -> Exception:
    error = RuntimeError("a worker failed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


@pytest.mark.parametrize(
    ("at", "error", "kind", "words"),
    [
        ("config", GatedRepoError("no", response=answer(403)), ModelUnreachable, "someone/small is gated; accept its"),
        ("config", RepositoryNotFoundError("no", response=answer(404)), ModelNotFound, "The hub has no model someone"),
        ("config", EntryNotFoundError("no"), ModelError, "someone/small holds no config.json"),
        ("config", ConnectionError(), ModelUnreachable, "the model hub cannot be reached"),
        ("weights", ConnectionError(), ModelUnreachable, "the model hub cannot be reached"),
        ("weights", full_disk(), ModelTooLarge, "The disk got full while someone/small was downloaded"),
    ],
)
def test_everything_that_the_hub_can_say(repository, at, error, kind, words):
    repository.error = at, error
    assert words in sentence("someone/small", kind)


def test_a_repository_opens_and_tells_how_far_its_download_is(repository):
    told = []
    found = prepare("someone/small", CPU)
    assert (found.place, found.base) == (None, "someone/small") and found.elements > 0
    fetched = found.fetched(lambda done, total: told.append((done, total)))
    assert fetched.place == str(repository.folder) and fetched.elements == found.elements
    total = sum(path.stat().st_size for path in repository.folder.iterdir())
    assert [done for done, _ in told] == [total // 4 * number for number in (1, 2, 3, 4)]
    assert {size for _, size in told} == {total}
    assert duet_core.open_model("someone/small", device="cpu").name == "someone/small"


def test_what_cannot_be_opened_is_not_downloaded(repository, monkeypatch):
    monkeypatch.setattr(opening, "free_bytes", lambda device: 1_000_000)
    sentence("someone/small", ModelTooLarge)
    config = json.loads((repository.folder / "config.json").read_text())
    (repository.folder / "config.json").write_text(json.dumps(config | {"text_config": {"model_type": "gpt2"}}))
    sentence("someone/small")
    assert not repository.asked


def test_a_full_disk_is_seen_before_the_download(repository, monkeypatch):
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda place: SimpleNamespace(free=1_000_000))
    assert "of disk and 1 MB are free; make room" in sentence("someone/small", ModelTooLarge)
    assert not repository.asked


def test_a_repository_without_safetensors(repository):
    (repository.folder / "model.safetensors").rename(repository.folder / "pytorch_model.bin")
    assert "someone/small holds no safetensors weights" in sentence("someone/small")


# The page: one model gives way to another


@pytest.fixture
def folders(tmp_path) -> list[str]:
    return [str(shutil.copytree(TINY, tmp_path / name)) for name in ("one", "two", "three")]


def take(held: Shelf, name: str, **more) -> duet_core.Model:
    events = held.take(name, Settings(device="cpu", **more))
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def test_the_model_before_is_gone_before_the_next_one_is_read(folders, monkeypatch):
    held = Shelf()
    before = weakref.ref(take(held, folders[0], held_models=1).backbone.model)
    seen = []
    real = shelf.read_model
    monkeypatch.setattr(shelf, "read_model", lambda *a, **k: seen.append(before() is None) or real(*a, **k))
    gc.disable()  # nobody but us frees it
    try:
        assert take(held, folders[1], held_models=1).name == folders[1]
    finally:
        gc.enable()
    assert seen == [True] and held.get(folders[0]) is None


def test_models_give_way_when_memory_is_short(folders, monkeypatch):
    held = Shelf()
    first, second = (take(held, name, held_models=3) for name in folders[:2])
    take(held, folders[0], held_models=3)
    rooms = iter([10**12, 0, 10**12, 10**12])  # before the download, then until one has gone, then once more
    monkeypatch.setattr(opening, "free_bytes", lambda device: next(rooms))
    take(held, folders[2], held_models=3)
    assert held.get(folders[0]) is first and held.get(folders[1]) is None
    assert second.name == folders[1]


def test_a_model_that_cannot_be_opened_leaves_the_one_before(folders, monkeypatch):
    held = Shelf()
    model = take(held, folders[0], held_models=1)
    Path(folders[1], "model.safetensors").write_bytes(b"")
    config = Path(folders[2], "config.json")
    config.write_text(config.read_text().replace('"llava"', '"blip-2"'))
    for bad in (folders[1], folders[2], "no-such-model"):
        with pytest.raises(ModelError):
            take(held, bad, held_models=1)
        assert take(held, folders[0], held_models=1) is model
    monkeypatch.setattr(opening, "free_bytes", lambda device: 0)
    config.write_text(config.read_text().replace('"blip-2"', '"llava"'))
    with pytest.raises(ModelTooLarge):
        take(held, folders[2], held_models=1)
    assert held.get(folders[0]) is model


def test_the_page_shows_how_far_a_download_is(repository):
    found = prepare("someone/small", CPU)
    shown = [event for event in downloaded(found) if isinstance(event, Downloading)]
    assert 1 <= len(shown) <= 4 and shown[-1].done == pytest.approx(shown[-1].total, rel=1e-3)
    said = Play(gpu.Job("m", None, "q", "duet", 0.5), None).show(Downloading(3_200_000_000, 14_100_000_000))
    assert "Downloading the model: 3.2 of 14.1 GB ..." in said.speed
    assert downloading(0, 1_800_000_000) == "Downloading the model: 0.0 of 1.8 GB ..."


def test_leaving_ends_the_download(monkeypatch):
    ended = []

    def fetched(report):
        try:
            for number in range(10**6):
                report(number, 10**6)
        except DownloadStopped as error:
            ended.append(str(error))
            raise

    events = downloaded(SimpleNamespace(base="someone/small", fetched=fetched))
    next(events)
    events.close()
    for _ in range(1000):
        if ended:
            break
        gpu.threading.Event().wait(0.01)
    assert ended == ["The download of someone/small was stopped; ask again to go on with it."]


def test_an_error_of_the_download_reaches_the_page(repository):
    repository.error = "weights", full_disk()
    with pytest.raises(ModelTooLarge, match="disk got full"):
        list(downloaded(prepare("someone/small", CPU)))


# What we suggest


def test_only_models_that_a_backbone_drives_are_suggested(monkeypatch):
    assert {entry.model_type for entry in suggested()} <= set(FAMILIES)
    assert "HuggingFaceTB/SmolVLM-256M-Instruct" in [entry.name for entry in suggested()]
    for entry in suggested():
        assert entry.parameters > 0 and entry.licence and entry.good_for
        width = 4 if entry.model_type == "smolvlm" else 2
        assert not entry.download or entry.download == pytest.approx(entry.parameters * width / 1e9, abs=0.06)
    monkeypatch.delitem(FAMILIES, "idefics3")
    assert "HuggingFaceTB/SmolVLM-256M-Instruct" not in [entry.name for entry in suggested()]


def test_the_menu_offers_them_where_visitors_may_open_others():
    choices = dict(model_choices(Settings(models=("duet-mini", "/srv/mine"))))
    assert choices["duet-mini"] == "duet-mini" and choices["/srv/mine"] == "/srv/mine"
    assert choices["LLaVA-1.5 7B · 14 GB"] == "llava-hf/llava-1.5-7b-hf"
    assert model_choices(Settings(hub=False)) == [("duet-mini", "duet-mini")]
    first, *_ = model_choices(Settings(models=("llava-hf/llava-1.5-7b-hf",)))
    assert first == ("LLaVA-1.5 7B · 14 GB", "llava-hf/llava-1.5-7b-hf")


def test_the_shell_lists_them(capsys):
    assert main(["models", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "llava-hf/llava-1.5-7b-hf" in printed and "free on CPU, in float32" in printed
    table = models_table(suggested(), replace(CPU, dtype=torch.bfloat16), 10_000_000_000)
    assert "no, needs 15.8 GB" in table and "10.0 GB are free" in table
