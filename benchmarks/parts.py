"""Each part of text to audio as a call: ours and diffusers', on the same inputs."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend
from audioldm2_jax.encoders.latents import decode_latents, vocode_mel
from audioldm2_jax.models.gpt2 import GPT2, roll_out
from audioldm2_jax.models.kernels.attention import KeyLengths
from audioldm2_jax.models.loa_projection import sequence_positions
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.pipelines.programs import shared
from audioldm2_jax.pipelines.request import ClipRequest
from audioldm2_jax.pipelines.text import tokenise

PROMPT = "a dog barks in the rain while a car passes by and people talk"


class Parts:
    """Calls of the parts of two pipelines of AudioLDM 2 with the same configuration.

    theirs: diffusers' pipeline; None: our calls alone. clips: in a batch, with guidance 2 rows for
    each. frames: of the latents. Methods return {"ours": call, "theirs": call}; a call waits for
    its result. `compile_seconds` tells what our programs took to compile, by part.
    """

    def __init__(self, ours, theirs=None, *, clips: int = 1, frames: int = 256):
        self.ours, self.theirs, self.clips = ours, theirs, clips
        config = ours.config
        self.latents = (frames, config.vocoder.mels // config.vae.factor, config.unet.in_channels)
        self.rng = np.random.default_rng(0)
        self.compile_seconds = {}

    def _draw(self, *shape):
        """An input for us on our device, and for them on theirs in their dtype."""
        x = self.rng.standard_normal(shape).astype(np.float32)
        return jax.device_put(x), None if self.theirs is None else self._tensor(x)

    def _tensor(self, x):
        import torch

        return torch.tensor(x).to(self.theirs.device, self.theirs.unet.dtype)

    def _calls(self, name, reference, function, *arguments):
        """function: (program, *arguments) -> arrays. reference: their call."""
        begin = time.perf_counter()
        compiled = self.ours._runner.compiled(
            function, self.ours._program, *arguments, label=name, progress=False
        )
        self.compile_seconds[name] = time.perf_counter() - begin
        calls = {"ours": lambda: jax.block_until_ready(compiled(*arguments))}
        if self.theirs is not None:
            calls["theirs"] = lambda: finished(self.theirs, reference)
        return calls

    def unet_step(self) -> dict:
        """One evaluation with guidance, 20 text tokens."""
        config, rows = self.ours.config, 2 * self.clips
        x, x_t = self._draw(rows, *self.latents)
        loa, loa_t = self._draw(rows, config.gpt2.tokens, config.gpt2.width)
        text, text_t = self._draw(rows, 20, config.t5.width)
        mask, lengths = np.ones((rows, 20), bool), KeyLengths(jnp.full(rows, 20))
        padded = (None, backend.current().context_keys[0])
        unet, variables = UNet(config.unet, self.ours.dtype), {"params": self.ours.params["unet"]}
        times = unet.apply(variables, jnp.array([961.0]), method="time_bias")
        keys = jax.jit(lambda v: unet.apply(v, loa, text, keys=padded, method="kv"))(variables)

        def reference():
            return self.theirs.unet(
                x_t.permute(0, 3, 1, 2),
                961,
                encoder_hidden_states=loa_t,
                encoder_hidden_states_1=text_t,
                encoder_attention_mask_1=self._tensor(mask),
            ).sample.permute(0, 2, 3, 1)

        arguments = variables, x, times, keys, (None, lengths)
        return self._calls("U-Net step", reference, _denoise, *arguments)

    def vae(self) -> dict:
        """Latents to mel."""
        latents, latents_t = self._draw(self.clips, *self.latents)

        def reference():
            scaled = latents_t.permute(0, 3, 1, 2) / self.theirs.vae.config.scaling_factor
            return self.theirs.vae.decode(scaled).sample[:, 0]

        return self._calls("VAE decode", reference, _decode, self.ours.params["vae"], latents)

    def vocoder(self) -> dict:
        """Mel to waveform."""
        config = self.ours.config
        frames = self.latents[0] * config.vae.factor
        mel, mel_t = self._draw(self.clips, frames, config.vocoder.mels)
        params = self.ours.params["vocoder"]
        return self._calls("vocoder", lambda: self.theirs.vocoder(mel_t), _speak, params, mel)

    def roll_out(self) -> dict:
        """GPT-2's LOA vectors after a sequence of 40, two prompts a clip."""
        config, rows = self.ours.config.gpt2, 2 * self.clips
        sequence, sequence_t = self._draw(rows, 40, config.width)

        def reference():
            import torch

            mask = torch.ones(rows, 40, dtype=torch.long, device=self.theirs.device)
            return self.theirs.generate_language_model(
                sequence_t, attention_mask=mask, max_new_tokens=config.tokens
            )

        positions = jax.device_put(sequence_positions(35, [35] * rows))
        inputs = sequence, jnp.ones((rows, 40), bool), positions
        return self._calls("LOA roll-out", reference, _roll, self.ours.params["gpt2"], *inputs)

    def text(self) -> dict:
        """From prompt strings to LOA and T5 states, with guidance."""
        ours, requests = self.ours, [ClipRequest(PROMPT, guidance=2.0)] * self.clips

        def run():
            texts = tokenise(requests, ours.tokenizers, ours.config, ours.convention)
            arguments = ours.params, texts
            compiled = ours._runner.compiled(
                shared.condition, ours._program, *arguments, label="text", progress=False
            )
            return jax.block_until_ready(compiled(*arguments))

        calls, prompts = {"ours": run}, [PROMPT] * self.clips
        if self.theirs is not None:
            device = self.theirs.device
            calls["theirs"] = lambda: finished(
                self.theirs, lambda: self.theirs.encode_prompt(prompts, device, 1, True)
            )
        return calls


def finished(theirs, function):
    """The result of their call, when their device has computed it."""
    import torch

    with torch.no_grad():
        result = function()
    if theirs.device.type == "cuda":
        torch.cuda.synchronize()
    return result


def _denoise(program, variables, *arguments):
    return UNet(program.config.unet, program.dtype).apply(variables, *arguments, method="denoise")


def _decode(program, params, latents):
    return decode_latents(params, latents, program.config.vae, program.dtype)


def _speak(program, params, mel):
    return vocode_mel(params, mel, program.config.vocoder, program.dtype)


def _roll(program, params, *arguments):
    config = program.config.gpt2
    return roll_out(GPT2(config, program.dtype), params, *arguments, tokens=config.tokens)
