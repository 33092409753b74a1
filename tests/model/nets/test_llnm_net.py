"""LLNM-Net: sizes, what may and what may not have an influence, attention, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from model.nets.config import NetConfig, compact_config, paper_config
from model.nets.llnm_net import Attention, LlnmNet, NetworkInputs, NetworkOutput
from model.schema import DEFAULT, MAPS

SMALL = NetConfig(
    width=24, heads=3, mlp_width=32, fusion_layers=2, self_layers=2, text_tokens=9, map_size=16, patch=8, vocab_size=30
)


def make_net(config: NetConfig = SMALL) -> LlnmNet:
    torch.manual_seed(0)
    net = LlnmNet(config).eval().requires_grad_(False)
    if isinstance(net.words, torch.nn.Embedding):
        torch.nn.init.normal_(net.words.weight)  # as after training: words start without meaning
    return net


def run(net: LlnmNet, inputs: NetworkInputs, *, return_attention: bool = False) -> NetworkOutput:
    with torch.inference_mode():
        return net(inputs, return_attention=return_attention)


def assert_same(a: NetworkOutput, b: NetworkOutput) -> None:
    for name in ("logit", "stage_logits", "embedding"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-5, rtol=1e-5)


def tensors(attention: Attention) -> list[Tensor]:
    return [*(w for layer in attention.fusion for w in layer), *attention.joint, attention.pooling]


def test_compact_network(random_inputs):
    config = compact_config()
    net = make_net(config)
    assert sum(p.numel() for p in net.parameters()) < 1_400_000
    inputs = random_inputs(config, 3)
    output = run(net, inputs)
    assert output.logit.shape == (3,)
    assert output.stage_logits.shape == (3, 3)
    assert output.embedding.shape == (3, 96)
    assert output.attention is None
    a = run(net, inputs, return_attention=True).attention
    t_i, t_c = len(config.image_tokens), len(config.clinical_tokens)
    assert (len(a.fusion), len(a.joint), len(a.layers)) == (4, 2, 6)
    for layer in a.layers:
        assert layer.image_image.shape == (6, 4, t_i, t_i)  # three cases of two views
        assert layer.image_clinical.shape == (6, 4, t_i, t_c)
        assert layer.clinical_image.shape == (6, 4, t_c, t_i)
        assert layer.clinical_clinical.shape == (6, 4, t_c, t_c)
    assert all(weights.shape == (6, 4, t_i + t_c, t_i + t_c) for weights in a.joint)
    assert a.pooling.shape == (6, t_i + t_c)


def test_published_network_has_the_published_size():
    """4 BMA layers hold two ViT-B layers each, and 12 self layers one: 20 times 7.09 million, and the embeddings."""
    with torch.device("meta"):
        net = LlnmNet(paper_config())
    layer = sum(p.numel() for p in net.joint[0].parameters())
    assert layer == 4 * 768 * 768 + 4 * 768 + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    assert sum(p.numel() for p in net.fusion[0].parameters()) == 2 * layer
    total = sum(p.numel() for p in net.parameters())
    assert 20 * layer < total < 20 * layer + 4_000_000


def test_published_layout_runs_on_pretrained_features(random_inputs):
    config = replace(paper_config(), width=24, heads=2, mlp_width=32, self_layers=1, fusion_layers=1, map_size=32)
    net = make_net(config)
    inputs = random_inputs(config, 2)
    output = run(net, inputs)
    assert torch.isfinite(output.logit).all()
    other = replace(inputs, word_features=inputs.word_features + inputs.word_present[..., None])
    assert (run(net, other).logit - output.logit).abs().min() > 1e-6
    hidden = replace(inputs, word_features=inputs.word_features.masked_fill(~inputs.word_present[..., None], 1e4))
    assert torch.equal(run(net, hidden).logit, output.logit)
    with pytest.raises(ValueError, match="word_features: must be"):
        net(replace(inputs, word_features=None))


def test_inputs_that_do_not_fit_are_named(random_inputs):
    net, inputs = make_net(), random_inputs(SMALL, 1)
    with pytest.raises(ValueError, match=r"maps: must be \(B, V, 3, 16, 16\)"):
        net(replace(inputs, maps=inputs.maps[..., :8]))
    with pytest.raises(ValueError, match=r"word_ids: must be \(B, 9\)"):
        net(replace(inputs, word_ids=inputs.word_ids[:, :5]))


def test_attention_sums_to_one_and_leaves_out_absent_words(random_inputs):
    inputs = random_inputs(SMALL, 4)
    absent = ~inputs.word_present
    a = run(make_net(), inputs, return_attention=True).attention
    for weights in tensors(a):
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    by_view = absent.repeat_interleave(2, 0)
    for keys in (*(w for layer in a.layers for w in (layer.image_clinical, layer.clinical_clinical)),
                 a.pooling[:, None, None, a.image_tokens :]):  # fmt: skip
        on_words = keys[..., : SMALL.text_tokens].sum((1, 2))  # (B·V, M)
        assert (on_words[by_view] == 0).all()
        assert (on_words[~by_view] > 0).all()


def test_directions_of_a_self_layer_tile_it(random_inputs):
    a = run(make_net(), random_inputs(SMALL, 2), return_attention=True).attention
    q = a.layers[3]
    tiled = torch.cat(
        [torch.cat([q.image_image, q.image_clinical], -1), torch.cat([q.clinical_image, q.clinical_clinical], -1)], -2
    )
    assert torch.equal(tiled, a.joint[1])
    assert q.image_clinical.shape == a.layers[0].image_clinical.shape


def test_attention_is_that_which_the_logit_comes_from(random_inputs):
    """Otherwise it would have no gradients; in a direction that is turned off there is none."""
    n = len(SMALL.image_tokens)
    for cross in ("both", "text_to_image"):
        net = make_net(replace(SMALL, cross=cross))
        tokens = net.embed(random_inputs(SMALL, 2))
        traced = replace(tokens, image=tokens.image.requires_grad_(), clinical=tokens.clinical.requires_grad_())
        output = net.fuse(traced, return_attention=True)
        found = tensors(output.attention)
        slopes = torch.autograd.grad(output.logit.sum(), found)
        assert all(slope.abs().max() > 0 for slope in slopes)
        clinical_reads_image = found[0][..., n:, :]
        assert clinical_reads_image.any() == (cross == "both")


def test_asking_for_attention_does_not_change_the_answer(random_inputs):
    inputs = random_inputs(SMALL, 5)
    assert_same(run(make_net(), inputs), run(make_net(), inputs, return_attention=True))


def test_what_is_missing_has_no_influence(random_inputs):
    net, inputs = make_net(), random_inputs(SMALL, 6)
    inputs = replace(inputs, view_present=torch.tensor([[True, False], [True, True], [False, True]]).repeat(2, 1))
    seen = inputs.map_present & inputs.view_present[..., None]
    assert not seen.all()
    garbage = replace(
        inputs,
        maps=torch.where(seen[..., None, None], inputs.maps, torch.nan),
        numeric=torch.where(inputs.numeric_present, inputs.numeric, torch.nan),
        word_ids=torch.where(inputs.word_present, inputs.word_ids, 7),
        map_present=inputs.map_present | ~inputs.view_present[..., None],
    )
    a, b = run(net, inputs), run(net, garbage)
    assert torch.equal(a.logit, b.logit)
    assert torch.equal(a.stage_logits, b.stage_logits)


def test_everything_present_has_an_influence(random_inputs):
    """Each map, word, number and category changes the logit: nothing is lost on the way."""
    net, inputs = make_net(), random_inputs(SMALL, 1)
    inputs = replace(
        inputs,
        map_present=torch.ones_like(inputs.map_present),
        numeric_present=torch.ones_like(inputs.numeric_present),
        word_present=torch.ones_like(inputs.word_present),
        categorical=torch.ones_like(inputs.categorical),
    )
    changed: dict[str, NetworkInputs] = {}

    def put(name: str, at: tuple[int, ...], value: object) -> None:
        tensor = getattr(inputs, name).clone()
        tensor[at] = value
        changed[f"{name} {at}"] = replace(inputs, **{name: tensor})

    for v in range(2):
        for m in range(len(MAPS)):
            put("maps", (0, v, m), 0.5)
            put("map_present", (0, v, m), False)
    for k in range(len(DEFAULT.numbers)):
        put("numeric", (0, k), 2.5)
        put("numeric_present", (0, k), False)
    for k in range(len(DEFAULT.categories)):
        put("categorical", (0, k), 0)
        put("categorical", (0, k), 2)
    for m in range(SMALL.text_tokens):
        put("word_ids", (0, m), 1)
        put("word_present", (0, m), False)
    logits = run(net, NetworkInputs.cat([inputs, *changed.values()])).logit
    moved = (logits[1:] - logits[0]).abs()
    still = [name for name, by in zip(changed, moved, strict=True) if by < 1e-5]
    assert not still


def test_a_field_that_is_switched_off_is_not_read(random_inputs):
    net = make_net(replace(SMALL, fields=("age_years", "sex")))
    inputs = random_inputs(SMALL, 3)
    age, sex = ([f.name for f in fs].index(n) for fs, n in [(DEFAULT.numbers, "age_years"), (DEFAULT.categories, "sex")])
    numeric, categorical = torch.zeros_like(inputs.numeric), torch.zeros_like(inputs.categorical)
    numeric[:, age], categorical[:, sex] = inputs.numeric[:, age], inputs.categorical[:, sex]
    only = replace(inputs, numeric=numeric, categorical=categorical)
    assert torch.equal(run(net, inputs).logit, run(net, only).logit)
    assert net.embed(inputs).clinical.shape[1] == len(net.config.clinical_tokens) == SMALL.text_tokens + 2


def test_no_fields_and_no_layers_still_answer(random_inputs):
    net = make_net(replace(SMALL, fields=(), fusion_layers=0, self_layers=0))
    output = run(net, random_inputs(SMALL, 2), return_attention=True)
    assert torch.isfinite(output.logit).all()
    assert output.attention.layers == ()
    assert output.attention.pooling.shape == (4, 21)


def test_no_report_is_a_token_of_its_own(random_inputs):
    net, inputs = make_net(), random_inputs(SMALL, 3)
    silent = replace(inputs, word_present=torch.zeros_like(inputs.word_present))
    other = replace(silent, word_ids=inputs.word_ids.flip(1))
    output = run(net, silent)
    assert torch.equal(output.logit, run(net, other).logit)
    tokens = net.embed(silent)
    assert tokens.clinical_present[:, : SMALL.text_tokens].sum(1).tolist() == [1, 1, 1]
    with torch.no_grad():
        net.no_report[0] += 1.0
    assert (run(net, silent).logit - output.logit).abs().min() > 1e-6
    spoken = run(net, inputs).logit
    with torch.no_grad():
        net.no_report[0] -= 1.0
    assert torch.equal(run(net, inputs).logit, spoken)  # a case with a report does not read it


def test_views_are_averaged(random_inputs):
    net, inputs = make_net(), random_inputs(SMALL, 3)

    def seen(first: bool, second: bool) -> NetworkOutput:
        return run(net, replace(inputs, view_present=torch.tensor([[first, second]]).expand(3, 2)))

    torch.testing.assert_close(
        seen(True, True).embedding, (seen(True, False).embedding + seen(False, True).embedding) / 2
    )
    swapped = replace(inputs, maps=inputs.maps.flip(1), map_present=inputs.map_present.flip(1))
    assert_same(run(net, swapped), run(net, inputs))
    twice = replace(
        inputs,
        maps=inputs.maps[:, :1].expand(-1, 2, -1, -1, -1),
        map_present=inputs.map_present[:, :1].expand(-1, 2, -1),
    )
    assert_same(run(net, twice), seen(True, False))


def test_without_any_view_the_maps_are_missing(random_inputs):
    net, inputs = make_net(), random_inputs(SMALL, 2)
    none = replace(inputs, view_present=torch.zeros_like(inputs.view_present))
    blank = replace(inputs, map_present=torch.zeros_like(inputs.map_present))
    assert_same(run(net, none), run(net, blank))


def test_a_case_is_answered_the_same_alone_and_in_company(random_inputs):
    net, inputs = make_net(), random_inputs(SMALL, 6)
    together = run(net, inputs)
    alone = torch.cat([run(net, inputs.rows([i])).logit for i in range(6)])
    torch.testing.assert_close(together.logit, alone, atol=1e-5, rtol=1e-5)


def test_tokens_of_a_whole_and_an_empty_case_make_every_part_hidden(random_inputs):
    """What cheap coalition evaluation rests on: mixing tokens equals hiding inputs."""
    net, inputs = make_net(), random_inputs(SMALL, 4)
    hidden = replace(
        inputs,
        map_present=torch.zeros_like(inputs.map_present),
        numeric_present=torch.zeros_like(inputs.numeric_present),
    )
    with torch.inference_mode():
        whole, empty = net.embed(inputs), net.embed(hidden)
        mixed = net.fuse(replace(whole, image=empty.image))
    assert_same(mixed, run(net, replace(inputs, map_present=hidden.map_present)))


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_joins_the_modalities(random_inputs, alpha: float):
    net, inputs = make_net(replace(SMALL, alpha=alpha)), random_inputs(SMALL, 2)
    tokens = net.embed(inputs)
    image = tokens.image[:, 0]
    clinical = tokens.clinical.clone().requires_grad_()
    c = clinical
    for layer in net.fusion:
        image, c, _ = layer(image, c, tokens.clinical_present)
    (gradient,) = torch.autograd.grad(image.square().sum(), clinical)
    assert bool((gradient == 0).all()) == (alpha == 0)


def test_ten_threads_share_one_network(random_inputs):
    net = make_net()
    batches = [random_inputs(SMALL, 1 + i % 3, seed=i) for i in range(10)]
    expected = [run(net, batch, return_attention=True) for batch in batches]

    def repeat(batch: NetworkInputs) -> list[NetworkOutput]:
        return [run(net, batch, return_attention=True) for _ in range(10)]

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(repeat, batches))
    for want, gots in zip(expected, answers, strict=True):
        for got in gots:
            assert_same(got, want)
            torch.testing.assert_close(tensors(got.attention), tensors(want.attention))


def test_steps_lower_the_loss_and_reach_every_weight(random_inputs):
    torch.manual_seed(0)
    net = LlnmNet(replace(SMALL, dropout=0.0, attention_dropout=0.0))
    inputs = random_inputs(SMALL, 16)
    inputs.word_present[0] = False
    llnm, stage = torch.tensor([0.0, 1.0]).repeat(8), torch.arange(16) % 3
    optimiser = torch.optim.SGD(net.parameters(), lr=0.02)

    def loss() -> Tensor:
        output = net(inputs)
        return torch.nn.functional.binary_cross_entropy_with_logits(
            output.logit, llnm
        ) + torch.nn.functional.cross_entropy(output.stage_logits, stage)

    first = loss()
    first.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    idle = [name for name, p in net.named_parameters() if not p.grad.any()]
    assert not idle
    optimiser.step()
    assert loss().item() < first.item()


def test_words_start_without_meaning():
    assert not LlnmNet(SMALL).words.weight.any()


def test_rows_repeat_and_cat(random_inputs):
    inputs = random_inputs(SMALL, 3)
    parts = [inputs.rows(slice(0, 1)), inputs.rows([1, 2])]
    assert [len(part) for part in parts] == [1, 2]
    again = NetworkInputs.cat(parts)
    doubled = inputs.repeat(2)
    masked = inputs.rows(torch.tensor([False, True, True]))
    assert (len(doubled), len(inputs.rows([0]).repeat(5))) == (6, 5)
    for f in fields(NetworkInputs):
        original = getattr(inputs, f.name)
        if original is None:
            assert getattr(doubled, f.name) is None
            continue
        assert torch.equal(getattr(again, f.name), original)
        assert torch.equal(getattr(doubled, f.name), original.repeat_interleave(2, 0))
        assert torch.equal(getattr(masked, f.name), original[1:])
    assert inputs.to("meta").maps.device.type == "meta"
    with pytest.raises(ValueError, match="parts"):
        NetworkInputs.cat([])
    with pytest.raises(ValueError, match="word_features"):
        NetworkInputs.cat([inputs, replace(inputs, word_features=torch.zeros(3, 9, 4))])


@pytest.mark.parametrize("patch", [4, 8, 16])
@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_a_token_looks_at_its_own_patch(random_inputs, stem: str, patch: int):
    """Where a token's view has its centre: an attention map drawn on the picture must not be shifted."""
    config = replace(SMALL, stem=stem, patch=patch, map_size=5 * patch)
    net, inputs = make_net(config), random_inputs(config, 4)
    maps = inputs.maps.requires_grad_()
    image = net.embed(replace(inputs, map_present=torch.ones_like(inputs.map_present))).image
    for m, name in enumerate(MAPS):
        token = config.image_tokens.index((name, 2, 1))
        seen = torch.zeros(len(MAPS), 5 * patch, 5 * patch)
        for seed in range(5):
            probe = torch.randn(config.width, generator=torch.Generator().manual_seed(seed))
            (gradient,) = torch.autograd.grad((image[:, :, token] @ probe).sum(), maps, retain_graph=True)
            seen += gradient.square().sum((0, 1))
        assert seen.sum((1, 2)).nonzero().flatten().tolist() == [m]  # no other map
        at = torch.arange(5 * patch)
        row, col = (seen[m] * at[:, None]).sum() / seen[m].sum(), (seen[m] * at).sum() / seen[m].sum()
        assert row / patch == pytest.approx(2.5 - 0.5 / patch, abs=0.15)
        assert col / patch == pytest.approx(1.5 - 0.5 / patch, abs=0.15)


def test_the_compact_stem_learns_scattered_bright_spots():
    """Microcalcification: a few bright pixels in the internal map, whatever its brightness."""
    torch.manual_seed(0)
    config = NetConfig(
        width=32, heads=2, mlp_width=32, fusion_layers=1, self_layers=0, text_tokens=1, map_size=32, patch=8
    )
    net, generator = LlnmNet(config), torch.Generator().manual_seed(0)

    def batch(cases: int) -> tuple[NetworkInputs, Tensor]:
        spotted = torch.randint(0, 2, (cases,), generator=generator).float()
        maps = 0.3 * torch.rand(cases, 2, 3, 32, 32, generator=generator)
        maps += 0.4 * torch.rand(cases, 1, 1, 1, 1, generator=generator)
        spots = torch.rand(cases, 2, 32, 32, generator=generator) < 0.006
        maps[:, :, MAPS.index("internal")] += 0.6 * spots * spotted[:, None, None, None]
        yes = torch.ones(cases, 2, 3, dtype=torch.bool)
        numbers, words = torch.zeros(cases, len(DEFAULT.numbers)), torch.ones(cases, 1, dtype=torch.long)
        categories = torch.zeros(cases, len(DEFAULT.categories), dtype=torch.long)
        inputs = NetworkInputs(maps, yes, yes[:, :, 0], numbers, numbers > 1, categories, words, words == 1)
        return inputs, spotted

    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(70):
        inputs, spotted = batch(32)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(inputs).logit, spotted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    inputs, spotted = batch(200)
    right = ((run(net.eval(), inputs).logit > 0) == (spotted > 0)).float().mean()
    assert right > 0.85
