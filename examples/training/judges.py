"""Two rewards: functions with the signature that TRL has, one of them asynchronous, one that does not always apply."""

import asyncio


async def close(completions, answer, **columns):
    """1 for the sum, less for a number that is further from it. Each may wait for a server: all do at once."""

    async def judged(completion: str, expected: str) -> float:
        await asyncio.sleep(0)  # the request
        text = completion.strip()
        return max(0.0, 1 - abs(int(text) - int(expected)) / 9) if text.isdecimal() else 0.0

    return await asyncio.gather(*map(judged, completions, answer))


def brief(completions, level, **columns):
    """1 for at most two characters; sums that carry have no such reward."""
    return [
        None if each == "carries" else float(len(text.strip()) <= 2)
        for text, each in zip(completions, level, strict=True)
    ]
