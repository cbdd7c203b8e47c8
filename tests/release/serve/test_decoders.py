"""Decoding uploads in other processes, which damaged files cannot hold up."""

import asyncio
import io
import os
import signal
import time

import numpy as np
import pytest
import soundfile

from sersl.audio.decode import read_audio
from sersl.release.serve.decoders import Decoders
from sersl.release.serve.service_limits import RefusedError
from tests.fake_speech import make_voice


def encoded(seconds, *, rate=44_100, kind="WAV"):
    file = io.BytesIO()
    soundfile.write(file, make_voice(seconds, rate=rate), rate, format=kind)
    return file.getvalue()


def test_decoders_when_uploads_come_together_then_each_has_its_own_samples():
    uploads = [encoded(0.5 + 0.1 * i, kind=kind) for i, kind in enumerate(["WAV", "FLAC"] * 3)]

    async def work():
        decoders = Decoders(2, most_seconds=5)
        await decoders.start()
        try:
            return await asyncio.gather(*(decoders.decode(one) for one in uploads))
        finally:
            await decoders.close()

    for found, upload in zip(asyncio.run(work()), uploads, strict=True):
        np.testing.assert_array_equal(found, read_audio(upload))


def test_decoders_when_one_dies_or_is_too_slow_then_it_is_replaced():
    async def work():
        decoders = Decoders(1, most_seconds=5)
        await decoders.start()
        (process,) = decoders._running
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(RefusedError, match="ended the decoder"):
            await decoders.decode(encoded(1.0))
        assert len(await decoders.decode(encoded(1.0))) == 16_000
        (process,) = decoders._running
        os.kill(process.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await decoders.decode(encoded(1.0))
        assert time.monotonic() - started < 5
        assert len(await decoders.decode(encoded(1.0))) == 16_000
        with pytest.raises(RefusedError, match="longer than 5 s") as refused:
            await decoders.decode(encoded(6.0))
        assert refused.value.status == 413
        await decoders.close()
        await process.wait()

    asyncio.run(work())
