"""The other stages' steps in torch: VAE, vocoder, CLAP, AudioMAE and the tagger."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch_latent import AudioLDM, Joint, Language, LatentDiffusion, Peer, log_mel
from transformers import ClapConfig, ClapModel, SpeechT5HifiGan, SpeechT5HifiGanConfig

from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.features.kaldi import FBANK_DEVIATION, FBANK_MEAN, kaldi_filters
from audioldm2_jax.features.mel import MelConfig, mel_config, mel_filters


class PatchGAN(nn.Sequential):
    def __init__(self, width):
        layers = [nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        widths = [width * min(2**i, 8) for i in range(4)]
        for i, (a, b) in enumerate(itertools.pairwise(widths)):
            layers += [nn.Conv2d(a, b, 4, 2 if i < 2 else 1, 1, bias=False)]
            # Statistics of the batch, as in training everywhere.
            layers += [nn.BatchNorm2d(b, track_running_stats=False), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))


class VAE(Peer):
    def build(self):
        self.vae = AutoencoderKL.from_config(PARTS["vae"].write(self.model.vae).content)
        self.discriminator = PatchGAN(64)
        return {"discriminator": [self.discriminator], "generator": [self.vae]}

    def loss(self, player, batch):
        mel = log_mel(batch["waveform"], mel_config(self.model.vocoder))[:, None]
        if player == "discriminator":
            with torch.no_grad():
                output = self.vae.decode(self.vae.encode(mel).latent_dist.sample()).sample
            real, fake = self.discriminator(mel), self.discriminator(output)
            return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        posterior = self.vae.encode(mel).latent_dist
        output = self.vae.decode(posterior.sample()).sample
        error = (mel - output).abs().sum((1, 2, 3)).mean()
        adversarial = -self.discriminator(output).mean()
        last = self.vae.decoder.conv_out.weight
        terms = (error, adversarial)
        norms = [torch.autograd.grad(term, last, retain_graph=True)[0].norm() for term in terms]
        weight = 0.5 * (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4).detach()
        moments = posterior.mean**2 + posterior.var - 1 - posterior.logvar
        return error + 1000 * 0.5 * moments.mean() + weight * adversarial


class Period(nn.Module):
    def __init__(self, period, widths=(32, 128, 512, 1024, 1024)):
        super().__init__()
        self.period, pairs = period, itertools.pairwise((1, *widths))
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3 if i < 4 else 1, 1), (2, 0)))
            for i, (a, b) in enumerate(pairs)
        )
        self.out = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0)))

    def forward(self, wave):
        x = F.pad(wave[:, None], (0, -wave.shape[1] % self.period), "reflect")
        return _features(x.view(len(x), 1, -1, self.period), self)


class Scale(nn.Module):
    def __init__(self, norm):
        super().__init__()
        shapes = [(128, 15, 1, 1), (128, 41, 2, 4), (256, 41, 2, 16), (512, 41, 4, 16)]
        shapes += [(1024, 41, 4, 16), (1024, 41, 1, 16), (1024, 5, 1, 1)]
        before = [1] + [width for width, *_ in shapes]
        self.layers = nn.ModuleList(
            norm(nn.Conv1d(a, b, size, stride, size // 2, groups=groups))
            for a, (b, size, stride, groups) in zip(before, shapes)
        )
        self.out = norm(nn.Conv1d(1024, 1, 3, 1, 1))

    def forward(self, wave):
        return _features(wave[:, None], self)


def _features(x, module):
    features = []
    for layer in module.layers:
        x = F.leaky_relu(layer(x), 0.1)
        features.append(x)
    return [*features, module.out(x)]


class Vocoder(Peer):
    ema = False
    segment = 8192

    def build(self):
        config = PARTS["vocoder"].write(self.model.vocoder).content
        self.generator = SpeechT5HifiGan(SpeechT5HifiGanConfig(**config))
        self.generator.apply_weight_norm()
        norms = (spectral_norm, weight_norm, weight_norm)
        self.discriminators = [Period(p) for p in (2, 3, 5, 7, 11)] + [
            Scale(norm) for norm in norms
        ]
        return {"discriminator": self.discriminators, "generator": [self.generator]}

    def logits(self, wave):
        results = [discriminator(wave) for discriminator in self.discriminators[:5]]
        for discriminator in self.discriminators[5:]:
            results.append(discriminator(wave))
            wave = F.avg_pool1d(wave[:, None], 4, 2, 2)[:, 0]
        return results

    def loss(self, player, batch):
        front = mel_config(self.model.vocoder)
        wave = batch["waveform"][:, : self.segment]
        mel = log_mel(wave, front)
        with torch.set_grad_enabled(player == "generator"):
            output = self.generator(mel)[:, : self.segment]
        real, fake = self.logits(wave), self.logits(output)
        if player == "discriminator":
            return sum(((1 - r[-1]) ** 2).mean() + (f[-1] ** 2).mean() for r, f in zip(real, fake))
        pairs = [(a.detach(), b) for r, f in zip(real, fake) for a, b in zip(r, f)]
        matching = 2 * sum((a - b).abs().mean() for a, b in pairs)
        logits = sum(((1 - f[-1]) ** 2).mean() for f in fake)
        return logits + matching + 45 * F.l1_loss(log_mel(output, front), mel)


class CLAP(Peer):
    ema = False

    def build(self):
        self.clap = ClapModel(ClapConfig(**PARTS["clap"].write(self.model.clap).content))
        return {"model": [self.clap]}

    def loss(self, player, batch):
        front = self.model.clap.mel
        wave = batch["waveform_48k"]
        wave = wave.repeat(1, -(-front.samples // wave.shape[1]))[:, : front.samples]
        window = torch.hann_window(front.fft, device=wave.device)
        power = (
            torch.stft(wave, front.fft, front.hop, window=window, return_complex=True)
            .abs()
            .square()
        )
        names = ("sample_rate", "fft", "hop", "mels", "low", "high")
        bank = mel_filters(MelConfig(*(getattr(front, n) for n in names)))
        mel = power.transpose(1, 2) @ torch.tensor(bank, device=wave.device)
        mel = 10 * mel.clamp(min=1e-10).log10()
        out = self.clap(
            input_ids=batch["clap_tokens"],
            attention_mask=batch["clap_mask"].long(),
            input_features=mel[:, None],
            is_longer=torch.zeros(len(mel), 1, dtype=torch.bool),
        )
        target = torch.arange(len(mel), device=mel.device)
        audio, text = out.logits_per_audio.float(), out.logits_per_text.float()
        return (F.cross_entropy(audio, target) + F.cross_entropy(text, target)) / 2


class AudioMAE(Peer):
    ema = False
    decoder = (512, 8, 16)

    def build(self):
        c, (width, depth, heads) = self.model.audiomae, self.decoder
        self.count = (c.frames // c.patch) * (c.bins // c.patch)

        def tower(width, heads, hidden, depth):
            return nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width, heads, hidden, 0.0, F.gelu, c.eps, batch_first=True, norm_first=True
                )
                for _ in range(depth)
            )

        self.blocks = tower(c.width, c.heads, c.hidden, c.depth)
        self.restorers = tower(width, heads, 4 * width, depth)
        self.patch = nn.Conv2d(1, c.width, c.patch, c.patch)
        self.norm, self.norm_out = nn.LayerNorm(c.width), nn.LayerNorm(width)
        self.embed, self.pixels = nn.Linear(c.width, width), nn.Linear(width, c.patch**2)
        self.tokens = nn.ParameterDict(
            {
                "first": torch.zeros(1, 1, c.width),
                "mask": torch.zeros(1, 1, width),
                "places": torch.randn(1, self.count + 1, c.width),
                "restored": torch.randn(1, self.count + 1, width),
            }
        )
        parts = [self.blocks, self.restorers, self.patch, self.norm, self.norm_out]
        return {"model": [*parts, self.embed, self.pixels, self.tokens]}

    def loss(self, player, batch):
        c = self.model.audiomae
        bank = self._fbank(batch["waveform"])
        patches = F.unfold(bank[:, None], c.patch, stride=c.patch).transpose(1, 2)
        order = torch.rand(patches.shape[:2], device=bank.device).argsort(1)
        inverse = order.argsort(1)
        visible = int(self.count * 0.2)
        x = self.patch(bank[:, None]).flatten(2).transpose(1, 2) + self.tokens["places"][:, 1:]
        x = x.gather(1, order[:, :visible, None].expand(-1, -1, x.shape[2]))
        first = (self.tokens["first"] + self.tokens["places"][:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first, x], 1)
        for block in self.blocks:
            x = block(x)
        x = self.embed(self.norm(x))
        masks = self.tokens["mask"].expand(len(x), self.count - visible, -1)
        rest = torch.cat([x[:, 1:], masks.to(x.dtype)], 1)
        rest = rest.gather(1, inverse[..., None].expand(-1, -1, rest.shape[2]))
        x = torch.cat([x[:, :1], rest], 1) + self.tokens["restored"]
        for block in self.restorers:
            x = block(x)
        output = self.pixels(self.norm_out(x))[:, 1:]
        target = (patches - patches.mean(-1, True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
        errors = (output.float() - target).square().mean(-1)
        hidden = inverse >= visible
        return (errors * hidden).sum() / hidden.sum()

    def _fbank(self, wave):
        """`fbank` in torch."""
        c = self.model.audiomae
        cut = (wave - wave.mean(1, True)).unfold(1, 400, 160)
        cut = cut - cut.mean(-1, True)
        cut = cut - 0.97 * torch.cat([cut[..., :1], cut[..., :-1]], -1)
        window = torch.hann_window(400, periodic=False, device=wave.device)
        power = torch.fft.rfft(cut * window, 512).abs().square()
        mel = power @ torch.tensor(kaldi_filters(c.bins, 512, 16000), device=wave.device)
        mel = mel.clamp(min=torch.finfo(torch.float32).eps).log()
        mel = F.pad(mel, (0, 0, 0, c.frames - mel.shape[1]))
        return (mel - FBANK_MEAN) / (2 * FBANK_DEVIATION)


class Tagger(Peer):
    ema = False
    channels, width, classes = (64, 128, 256, 512, 1024, 2048), 2048, 96

    def build(self):
        layers, before = [], 1
        for i, width in enumerate(self.channels):
            for a in (before, width):
                conv = nn.Conv2d(a, width, 3, 1, 1, bias=False)
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.AvgPool2d(2)] if i < len(self.channels) - 1 else []
            layers, before = [*layers, nn.Dropout(0.2)], width
        self.norm, self.blocks = nn.BatchNorm2d(64), nn.Sequential(*layers)
        self.embed = nn.Linear(before, self.width)
        self.head = nn.Linear(self.width, self.classes)
        return {"model": [self.norm, self.blocks, self.embed, self.head]}

    def loss(self, player, batch):
        wave, labels = batch["waveform"], batch["labels"]
        share = torch.rand(len(wave), 1, device=wave.device)
        wave = share * wave + (1 - share) * wave.roll(1, 0)
        labels = share * labels + (1 - share) * labels.roll(1, 0)
        window = torch.hann_window(512, device=wave.device)
        power = torch.stft(wave, 512, 160, window=window, return_complex=True).abs().square()
        bank = mel_filters(MelConfig(16000, 512, 160, 64, 50.0, 8000.0))
        mel = power.transpose(1, 2) @ torch.tensor(bank, device=wave.device)
        mel = 10 * mel.clamp(min=1e-10).log10()
        x = self.norm(mel.transpose(1, 2)[..., None]).permute(0, 3, 2, 1)
        x = self.blocks(x).mean(3)
        x = F.dropout(x.max(2).values + x.mean(2), 0.5)
        x = F.dropout(F.relu(self.embed(x)), 0.5)
        return F.binary_cross_entropy_with_logits(self.head(x).float(), labels)


PEERS = {
    "pretrain": LatentDiffusion,
    "joint": Joint,
    "audioldm": AudioLDM,
    "loa": Language,
    "vae": VAE,
    "vocoder": Vocoder,
    "clap": CLAP,
    "audiomae": AudioMAE,
    "panns": Tagger,
}
