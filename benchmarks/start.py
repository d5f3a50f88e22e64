"""How long until the bundled model speaks, and whether loading it again costs memory: `python benchmarks/start.py`.

Times are of new processes, from the start of `import glmkit` to the first token; cold means without a program compiled
before, warm with those of the process before. The last line is a JSON object.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FIRST_TOKEN = """
import time; started = time.perf_counter()
import glmkit as gk; imported = time.perf_counter()
lm = gk.load("nano"); loaded = time.perf_counter()
next(iter(lm.chat("What is 27 + 58?", stream=True))); spoke = time.perf_counter()
print(f'{{"import": {imported - started:.3f}, "load": {loaded - imported:.3f}, "first_token": {spoke - imported:.3f}}}')
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
WARM_RUNS = 3


def run(program: str, cache: str) -> object:
    """What a new process that runs `program` prints, read as JSON."""
    environment = os.environ | {"GLMKIT_CACHE": cache}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "cache")
        cold = run(FIRST_TOKEN, cache)
        print("cold, seconds:", cold)
        warm = [run(FIRST_TOKEN, cache) for _ in range(WARM_RUNS)]
        for times in warm:
            print("warm, seconds:", times)
        resident = run(LOADS, cache)
        print("resident MiB after each of five loads and chats:", resident)
    print(json.dumps({"cold": cold, "warm": sorted(warm, key=lambda times: times["first_token"])[0], "mib": resident}))


if __name__ == "__main__":
    main()
