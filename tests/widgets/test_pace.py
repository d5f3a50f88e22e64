"""What comes faster than a browser takes it: handed on in batches, all of it, and soon."""

import threading
import time

from glmkit.widgets.pace import Paced


def test_many_tokens_are_few_messages_and_none_is_lost():
    said = []
    with Paced(said.append, 0.01) as paced:
        for item in range(5000):
            paced.add(item)
    assert [item for batch in said for item in batch] == list(range(5000))
    assert len(said) < 100


def test_what_cannot_be_told_is_logged_and_the_rest_is_told(caplog):
    said, first = [], threading.Event()

    def say(batch):
        said.extend(batch)
        first.set()
        if batch == [0]:
            raise ValueError("no 0")

    with Paced(say, 0.01) as paced:
        paced.add(0)
        assert first.wait(60)
        paced.add(1)
    assert said == [0, 1]
    assert "no 0" in caplog.text


def test_a_wait_between_messages_does_not_hold_tokens_back():
    said = []
    with Paced(said.append, 0.01) as paced:
        paced.add(1)
        deadline = time.monotonic() + 10
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert said == [[1]]
