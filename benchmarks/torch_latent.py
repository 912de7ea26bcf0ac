"""Training steps as one writes them in torch, for `training.py`: the loop, U-Net and GPT-2.

Networks are diffusers' and transformers'; configurations, batches, AdamW, clipping and averages
are those of our own stages.
"""

from __future__ import annotations

import copy
import random
import warnings

import torch
import torch.nn.functional as F
from diffusers import (
    AudioLDM2ProjectionModel,
    AudioLDM2UNet2DConditionModel,
    UNet2DConditionModel,
)
from torch import nn
from transformers import GPT2Config, GPT2Model

from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.diffusion.schedules import alphas_cumprod
from audioldm2_jax.features.mel import mel_filters


class Peer:
    """Networks, an optimiser for each player, and one step. loss(player, batch) is a subclass's."""

    ema = True

    def __init__(self, model, optim, device, dtype):
        self.model, self.optim, self.device, self.dtype = model, optim, device, dtype
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            players = self.build()
        self.players = {
            name: nn.ModuleList(parts).to(device).train() for name, parts in players.items()
        }
        self.optimizers = {name: self._adamw(part) for name, part in self.players.items()}
        last = list(self.players.values())[-1]
        self.average = copy.deepcopy(last).requires_grad_(False) if self.ema else None

    def _adamw(self, part):
        o = self.optim
        betas = {"betas": (o.beta1, o.beta2), "eps": o.eps, "weight_decay": o.weight_decay}
        return torch.optim.AdamW(part.parameters(), o.learning_rate, fused=True, **betas)

    def step(self, batch) -> float:
        """One update of every player; the last one's loss."""
        for name, part in self.players.items():
            with torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == "bf16"):
                loss = self.loss(name, batch)
            loss.backward()
            if self.optim.clip:
                nn.utils.clip_grad_norm_(part.parameters(), self.optim.clip)
            self.optimizers[name].step()
            for other in self.players.values():
                for parameter in other.parameters():
                    parameter.grad = None
        if self.average is not None:
            torch._foreach_lerp_(list(self.average.parameters()), list(part.parameters()), 1e-3)
        return loss

    @property
    def parameters(self) -> int:
        parts = self.players.values()
        return sum(p.numel() for part in parts for p in part.parameters())


def log_mel(wave, config):
    """`log_mel` by torch.stft. wave: [B, samples] -> [B, T, F]."""
    pad = (config.fft - config.hop) // 2
    wave = F.pad(wave[:, None], (pad, pad), "reflect")[:, 0]
    window = torch.hann_window(config.fft, device=wave.device)
    spectrum = torch.stft(
        wave, config.fft, config.hop, window=window, center=False, return_complex=True
    )
    bank = torch.tensor(mel_filters(config), device=wave.device)
    return (spectrum.abs().transpose(1, 2) @ bank).clamp(min=1e-5).log()


class Denoiser(Peer):
    """What the U-Net's stages share: noise on latents, mean squared error."""

    def noised(self, batch):
        mean, logvar = batch["mean"], batch["logvar"].clamp(-30, 20)
        latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        latents = (latents * self.model.vae.scale).permute(0, 3, 1, 2)
        bars = torch.tensor(alphas_cumprod(self.model.schedule), dtype=torch.float32)
        times = torch.randint(0, len(bars), (len(mean),), device=mean.device)
        alpha_bar = bars.to(mean.device)[times].view(-1, 1, 1, 1)
        noise = torch.randn_like(latents)
        return alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise, noise, times

    def unet2(self):
        config = PARTS["unet"].write(self.model.unet).content
        return AudioLDM2UNet2DConditionModel.from_config(config)

    def dropped(self, x):
        mask = torch.rand(len(x), device=x.device) >= 0.1
        return x * mask.view(-1, *(1,) * (x.ndim - 1))


class LatentDiffusion(Denoiser):
    def build(self):
        self.unet = self.unet2()
        return {"model": [self.unet]}

    def loss(self, player, batch):
        mixed, noise, times = self.noised(batch)
        loa = batch[f"loa_{(1, 2, 4, 8)[random.randrange(4)]}"]
        nothing = loa.new_zeros(len(loa), 1, self.model.t5.width)
        output = self.unet(
            mixed,
            times,
            encoder_hidden_states=self.dropped(loa),
            encoder_hidden_states_1=nothing,
        ).sample
        return F.mse_loss(output.float(), noise)


class AudioLDM(Denoiser):
    def build(self):
        config = PARTS["unet"].write(self.model.unet).content
        self.unet = UNet2DConditionModel.from_config(config)
        return {"model": [self.unet]}

    def loss(self, player, batch):
        mixed, noise, times = self.noised(batch)
        vector = self.dropped(batch["clap_audio"])
        output = self.unet(mixed, times, encoder_hidden_states=None, class_labels=vector).sample
        return F.mse_loss(output.float(), noise)


class Language(Peer):
    """GPT-2 and its projection."""

    ema = False

    def build_language(self):
        config = GPT2Config(**{**PARTS["gpt2"].write(self.model.gpt2).content, "attn_pdrop": 0.0})
        config.resid_pdrop = config.embd_pdrop = 0.0
        self.gpt2 = GPT2Model(config)
        p = self.model.projection
        self.projection = AudioLDM2ProjectionModel(p.clap_width, p.text_width, p.width)
        return [self.projection, self.gpt2]

    def build(self):
        return {"model": self.build_language()}

    def conditions(self, batch):
        states, mask = batch["t5"], batch["t5_mask"].long()
        vector = batch["clap_text"][:, None]
        prefix = self.projection(vector, states, vector.new_ones(len(vector), 1), mask)
        return prefix.hidden_states, prefix.attention_mask

    def loss(self, player, batch):
        truth = batch["loa_8"]
        sequence, mask = self.conditions(batch)
        embeddings = torch.cat([sequence, truth[:, :-1]], 1)
        mask = torch.cat([mask, mask.new_ones(len(mask), truth.shape[1] - 1)], 1)
        states = self.gpt2(inputs_embeds=embeddings, attention_mask=mask, use_cache=False)
        output = states.last_hidden_state[:, sequence.shape[1] - 1 :]
        return F.l1_loss(output.float(), truth)

    def rolled(self, batch, count):
        sequence, mask = self.conditions(batch)
        outputs, cache = [], None
        for _ in range(count):
            out = self.gpt2(
                inputs_embeds=sequence, attention_mask=mask, past_key_values=cache, use_cache=True
            )
            sequence, cache = out.last_hidden_state[:, -1:], out.past_key_values
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            outputs.append(sequence)
        return torch.cat(outputs, 1)


class Joint(Denoiser, Language):
    ema = True

    def build(self):
        self.unet = self.unet2()
        return {"model": [self.unet, *self.build_language()]}

    def loss(self, player, batch):
        truth = batch["loa_8"]
        output = self.rolled(batch, truth.shape[1])
        language = F.l1_loss(output.float(), truth)
        true = (torch.rand(len(truth), device=truth.device) < 0.25).view(-1, 1, 1)
        mixed, noise, times = self.noised(batch)
        predicted = self.unet(
            mixed,
            times,
            encoder_hidden_states=self.dropped(torch.where(true, truth, output.float())),
            encoder_hidden_states_1=self.dropped(batch["t5"]),
            encoder_attention_mask_1=batch["t5_mask"].to(truth.dtype),
        ).sample
        return F.mse_loss(predicted.float(), noise) + language
