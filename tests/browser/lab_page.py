"""What the tests do and see in JupyterLab: open a notebook, run it all, read the cells' outputs."""

import re
from dataclasses import dataclass
from functools import cached_property

from playwright.sync_api import ConsoleMessage, Page

OPEN_MILLISECONDS = 120_000


@dataclass
class LabPage:
    page: Page
    address: str
    token: str

    @cached_property
    def console_errors(self) -> list[str]:
        """The errors on the browser's console, from the first notebook opened on."""
        errors: list[str] = []

        def note(message: ConsoleMessage) -> None:
            if message.type == "error":
                errors.append(message.text)

        self.page.on("console", note)
        self.page.on("pageerror", lambda error: errors.append(str(error)))
        return errors

    def open(self, name: str) -> None:
        """Open the notebook `name` in a fresh workspace, and wait for its kernel."""
        self.console_errors.clear()
        self.page.goto(f"{self.address}/lab/tree/{name}?token={self.token}&reset", timeout=OPEN_MILLISECONDS)
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=OPEN_MILLISECONDS)
        # The status bar: the notebook's own indicator says idle before there is a kernel, and what is run then is lost.
        self.page.get_by_text(re.compile(r"\| Idle$")).wait_for(timeout=OPEN_MILLISECONDS)

    def run_all(self, seconds: float) -> None:
        """Run every cell, and wait until the last has finished or an error has stopped the run."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        self.page.wait_for_function(ALL_DONE, timeout=seconds * 1000)

    def run_cell(self, number: int, seconds: float) -> None:
        """Run one code cell, and wait until it has finished."""
        cell = self.page.locator(".jp-CodeCell").nth(number)
        cell.locator(".jp-InputArea-editor").click()
        self.page.keyboard.press("Shift+Enter")
        cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for(timeout=seconds * 1000)

    def output(self, number: int) -> str:
        """What a code cell printed or gave, as text."""
        return self.page.locator(".jp-CodeCell").nth(number).locator(".jp-OutputArea-output").first.inner_text()

    def command(self, name: str, **settings: str) -> None:
        """Do what a menu's entry does, by the name of its command."""
        self.page.evaluate("([name, settings]) => window.jupyterapp.commands.execute(name, settings)", [name, settings])

    def use_theme(self, name: str) -> None:
        """Of JupyterLab, such as "JupyterLab Dark"."""
        self.command("apputils:change-theme", theme=name)
        light = str("Light" in name).lower()
        self.page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=light)

    @property
    def prompts(self) -> list[str]:
        """What stands left of each code cell: [1]: once it has run, [*]: while it does, [ ]: before."""
        return self.page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()

    @property
    def complaints(self) -> list[str]:
        """What the cells wrote to stderr, and their tracebacks, which JupyterLab shows the same way."""
        return self.page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts()


# The run has begun, the kernel is idle again, and no cell waits its turn: after an error the others do not.
ALL_DONE = """() => {
  const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(node => node.textContent);
  const idle = document.querySelector('.jp-Notebook-ExecutionIndicator[data-status="idle"]');
  return idle && /\\d/.test(prompts[0]) && !prompts.some(text => text.includes('*'));
}"""
