"""The loop over a static cache: greedy tokens of a loop over the whole pass, ends of rows."""

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.decoding.generate import SHORTEST, align_right, bucket, roll_out
from audioldm2_jax.models.decoder import Decoder, grow_cache
from audioldm2_jax.presets import DecoderConfig

CONFIG = DecoderConfig(width=32, depth=1, heads=2, head_width=16, hidden=48)
VOCAB = 64


def test_greedy_tokens_of_the_whole_pass():
    """210 steps, two ragged prompts, one scan: the tokens of a Python loop without a cache."""
    decoder, steps = Decoder(CONFIG), 210
    generator = np.random.default_rng(0)
    table, head = (
        jnp.asarray(generator.standard_normal(shape), jnp.float32)
        for shape in ((VOCAB, 32), (32, VOCAB))
    )
    variables = jax.jit(decoder.init)(jax.random.key(1), jnp.zeros((1, 4, 32)))
    prompts = [generator.integers(0, VOCAB, length) for length in (9, 6)]
    padded = np.zeros((2, 9), np.int32)
    for row, prompt in enumerate(prompts):
        padded[row, : len(prompt)] = prompt
    prompt, starts = align_right(padded, [len(p) for p in prompts], 16)

    @jax.jit
    def generate(prompt, starts):
        states, cache = decoder.apply(variables, table[prompt], starts=starts)

        def step(tokens, cache, index):
            x = table[tokens][:, None]
            states, cache = decoder.apply(variables, x, cache, 16 + index, starts)
            return states[:, 0] @ head, cache

        logits = states[:, -1] @ head
        cache = grow_cache(cache, 16 + steps)
        return roll_out(logits, cache, step, lambda logits, _: logits.argmax(-1), steps)[0]

    tokens = np.asarray(generate(prompt, starts))
    assert tokens.shape == (2, steps)
    whole = jax.jit(lambda x: decoder.apply(variables, x)[0] @ head)
    for row, prompt in enumerate(prompts):
        sequence = np.zeros(9 + steps, np.int32)
        sequence[: len(prompt)] = prompt
        for index in range(len(prompt), len(prompt) + steps):
            logits = whole(table[sequence][None])
            sequence[index] = logits[0, index - 1].argmax()
        np.testing.assert_array_equal(tokens[row], sequence[len(prompt) :][:steps])
        assert len(set(tokens[row])) > 8


def test_rows_end_on_their_own():
    """A counter modulo 7 from each row's start; the token 5 ends a row."""
    calls = jnp.zeros(())

    def step(tokens, state, index):
        return tokens + 1, state + 1

    def run(done, count=None):
        start = jnp.array([0, 4])
        choose = lambda logits, _: logits % 7  # noqa: E731
        return roll_out(start, calls, step, choose, 12, count=count, done=done)[0]

    np.testing.assert_array_equal(run(None)[0], np.arange(12) % 7)
    np.testing.assert_array_equal(run(None, 3)[:, :3], [[0, 1, 2], [4, 5, 6]])
    ended = run(lambda tokens: tokens == 5)
    np.testing.assert_array_equal(ended[0], [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5])
    np.testing.assert_array_equal(ended[1], [4] + [5] * 11)


def test_buckets_are_few_and_waste_little():
    lengths = range(1, 20000)
    assert all(n <= bucket(n) <= max(1.25 * n, n + SHORTEST - 1) for n in lengths)
    assert len({bucket(n) for n in lengths}) < 32
