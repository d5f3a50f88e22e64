"""How long until the bundled model speaks, and whether loading it again costs memory: `python benchmarks/start.py`.

Times are of new processes; cold means without a program compiled before, warm with those of the process before.
"import" is `import glmkit`; "libraries" what it puts off, importing JAX and Flax; "load" and "first_text" both begin
where `glmkit.load("nano")` is called. The last line is a JSON object.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FIRST_TEXT = """
import json, time
times = [time.perf_counter()]
import glmkit as gk; times.append(time.perf_counter())
load = gk.load; times.append(time.perf_counter())
lm = load("nano"); times.append(time.perf_counter())
next(iter(lm.chat("What is 27 + 58?", stream=True))); times.append(time.perf_counter())
begin, imported, ready, loaded, spoke = times
spans = {"import": imported - begin, "libraries": ready - imported, "load": loaded - ready, "first_text": spoke - ready}
print(json.dumps({name: round(seconds, 3) for name, seconds in spans.items()}))
"""
LOADS = """
import json, psutil, glmkit as gk
process, resident = psutil.Process(), []
for _ in range(5):
    lm = gk.load("nano", max_len=1024)
    lm.chat("What is 27 + 58?", max_tokens=64)
    resident.append(round(process.memory_info().rss / 2**20))
print(json.dumps(resident))
"""
WARM_RUNS = 5


def run(program: str, cache: str) -> object:
    """What a new process that runs `program` prints, read as JSON."""
    environment = os.environ | {"GLMKIT_CACHE": cache}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "cache")
        cold = run(FIRST_TEXT, cache)
        print("cold, seconds:", cold)
        warm = [run(FIRST_TEXT, cache) for _ in range(WARM_RUNS)]
        for times in warm:
            print("warm, seconds:", times)
        resident = run(LOADS, cache)
        print("resident MiB after each of five loads and chats:", resident)
    median = sorted(warm, key=lambda times: times["first_text"])[WARM_RUNS // 2]
    print(json.dumps({"cold": cold, "warm": median, "mib": resident}))


if __name__ == "__main__":
    main()
