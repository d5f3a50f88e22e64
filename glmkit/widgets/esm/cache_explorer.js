// The cache explorer: the tree of known pages, the tokens of one of them, a fork at a token, and requests.

const megabytes = bytes => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const grouped = number => number.toLocaleString("en-US");
const oneLine = text => text.replaceAll("\n", "↵");

class CacheExplorer extends View {
  constructor(model, el) {
    super(model);
    this.requests = [];
    this.start(el, ["_selection"]);
    this.alive = setInterval(() => this.channel.tell({ kind: "ping" }), 60000);  // the kernel looks while somebody is there
  }
  close() {
    clearInterval(this.alive);
    super.close();
  }

  // What there is on the page.

  build(el) {
    const { parts } = this;
    for (const name of ["figures", "tree", "page", "requests"]) parts[name] = h("div", { className: `gp-${name}` });
    const number = (title, more) => h("input", { type: "number", title, "aria-label": title, ...more });
    const enter = act => event => { if (event.key === "Enter") act(); };
    this.question = h("input", { type: "text", className: "gp-question", placeholder: "Ask the model something", "aria-label": "Prompt", onkeydown: enter(() => this.ask()) });
    this.thinking = h("select", { "aria-label": "Thinking" }, ...["enabled", "disabled", "forced"].map(mode => h("option", { value: mode }, `thinking ${mode}`)));
    this.limit = number("Tokens at most", { min: 1, max: 100000 });
    this.askButton = this.button("Ask", () => this.ask(), { className: "gp-primary" });
    this.forget = this.button("Forget all", () => this.channel.ask({ kind: "clear" }), { title: "Have the engine forget all pages" });
    parts.tree.append(h("div", { className: "gp-tree-head" }), this.list = h("div", {
      className: "gp-branches", tabIndex: 0, role: "listbox", onkeydown: event => this.key(event),
      "aria-label": "Known pages. Left and right within a branch, up and down between branches, Enter for the tokens, Escape to take it back.",
    }));
    this.strip = new TokenStrip(brush => this.pickToken(brush), () => {});
    this.words = h("textarea", { className: "gp-fork-words", rows: 2, placeholder: "Text to go on with; none goes on as it is", "aria-label": "Text to go on with" });
    this.forkLimit = number("Tokens at most", { min: 1, max: 100000 });
    this.heat = number("Temperature", { min: 0, max: 5, step: 0.1 });
    this.forkButton = this.button("Continue here", () => this.fork(), { className: "gp-primary gp-forker" });
    this.pageHead = h("div", {});
    this.forkNote = h("p", { className: "gp-faint" });
    this.forking = h("div", { className: "gp-forking" }, this.words,
      h("div", { className: "gp-fork-row" }, h("label", {}, "tokens ", this.forkLimit), h("label", {}, "temperature ", this.heat), h("span", { className: "gp-space" }), this.forkButton), this.forkNote);
    parts.page.append(this.pageHead, this.strip.node, this.forking);
    this.body = h("div", { className: "gp-cache" }, parts.tree, h("aside", { className: "gp-side" }, parts.page));
    this.asking = h("div", { className: "gp-ask" }, this.question, this.thinking, this.limit, h("span", { className: "gp-faint" }, "tokens"), this.askButton);
    this.root = h("div", { className: "gp gp-cache-explorer" },
      h("header", {}, h("strong", {}, "Cache explorer"), parts.name, h("span", { className: "gp-space" }), this.copy, this.forget),
      this.asking, parts.status, parts.banner, this.code, parts.figures, this.body, parts.requests);
    el.replaceChildren(this.root);
  }

  // What is heard.

  heardAbout(content) {
    this.about = content;
    this.parts.name.textContent = content.model;
    if (content.settings && !this.limit.value) {
      this.limit.value = this.forkLimit.value = content.settings.max_tokens;
      this.heat.value = content.settings.temperature;
      if (typeof content.settings.thinking === "string") this.thinking.value = content.settings.thinking;
    }
    if (content.note) this.banner(content.note, true);
    this.refresh();
  }
  heardTree(content) {
    this.tree = content;
    this.refresh();
  }
  heardRequests(content) {
    this.requests = content.requests;
    this.refresh();
  }
  heardStream({ request, at, text, count }) {
    const known = this.requests[request];
    if (!known) return;
    known.answer = firstOf(known.answer, at) + text;
    known.count = count;
    this.doing(`${this.state?.doing || "answering"}: ${count} tokens`);
    this.refresh();
  }
  heardPage(content) {
    if (content.page !== this.picked.page) return;
    this.page = content;
    this.strip.show(content);
    this.paint();
    if (this.entering) this.strip.node.focus();
    this.entering = false;
  }

  // What is picked and asked for.

  get picked() { return { page: null, token: null, request: null, ...this.model.get("_selection") }; }
  pick(part) { this.set("_selection", { ...this.picked, ...part }); }
  pickPage(page) { this.pick({ page, token: null }); }
  pickToken(brush) { this.pick({ token: brush ? brush[1] - 1 : null }); }
  ask() {
    if (this.live && !this.busy && this.question.value.trim()) this.channel.ask({ kind: "ask", text: this.question.value, thinking: this.thinking.value, max_tokens: Number(this.limit.value) });
  }
  fork() {
    this.channel.ask({ kind: "fork", text: this.words.value, max_tokens: Number(this.forkLimit.value), temperature: Number(this.heat.value) });
  }
  key(event) {
    const rows = (this.tree?.branches ?? []).map(branch => branch.names).filter(names => names.length);
    const row = rows.findIndex(names => names.includes(this.picked.page)), column = row < 0 ? -1 : rows[row].indexOf(this.picked.page);
    const down = { ArrowDown: 1, ArrowUp: -1 }[event.key], along = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const to = (r, c) => this.pickPage(rows[r][Math.min(rows[r].length - 1, Math.max(0, c))]);
    if (event.key === "Escape") this.pickPage(null);
    else if (event.key === "Enter") {
      this.entering = this.strip.node.hidden; // until its tokens have come
      this.strip.node.focus();
    }
    else if (!rows.length || (down === undefined && along === undefined && event.key !== "Home" && event.key !== "End")) return;
    else if (row < 0 || event.key === "Home") to(0, 0);
    else if (event.key === "End") to(rows.length - 1, 1e9);
    else if (down) to(Math.min(rows.length - 1, Math.max(0, row + down)), column);
    else to(row, column + along);
    event.preventDefault();
    event.stopPropagation();
  }

  // What is shown.

  paint() {
    const { tree, picked } = this;
    if (picked.page !== this.asked) { // tokens are told when they are wanted
      this.asked = picked.page;
      this.page = null;
      if (picked.page && !this.dead) this.channel.ask({ kind: "page", page: picked.page });
    }
    this.askButton.disabled = this.forkButton.disabled = this.busy || !this.live;
    this.copy.disabled = Boolean(this.dead);
    this.forget.disabled = !this.live || !tree?.known;
    this.body.hidden = !tree;
    if (!tree) return;
    this.most = tree.branches.reduce((most, branch) => Math.max(most, ...branch.hits), 0) || 1;
    this.paintFigures();
    this.paintTree();
    this.paintPage();
    this.paintRequests();
  }
  paintFigures() {
    const { tree } = this, figure = (value, label) => h("div", { className: "gp-figure" }, h("b", {}, value), h("span", {}, label));
    this.parts.figures.replaceChildren(
      figure(`${grouped(tree.known)} pages`, `of ${tree.page_size} tokens known`),
      figure(megabytes(tree.known * tree.page_bytes), `of ${megabytes(tree.count * tree.page_bytes)} that there are`),
      figure(grouped(tree.hits * tree.page_size), "tokens found, not computed"),
      figure(grouped(tree.running.length), tree.running.length === 1 ? "request runs" : "requests run"));
  }
  colour(hits) { return colourOf(this.root.dataset.theme, 0.12 + 0.88 * (hits / this.most)); }
  cell(name, hits, readers, title, act) {
    const colour = this.colour(hits), { picked } = this, own = this.requests[picked.request]?.names.includes(name);
    const node = h("span", { className: `gp-page-cell${readers ? " gp-read" : ""}${own ? " gp-of-request" : ""}`, title, textContent: hits || "", onclick: act });
    node.style.background = rgb(colour);
    node.style.color = inkOn(colour);
    return node;
  }
  paintTree() {
    const { tree, picked } = this, size = tree.page_size;
    const stops = [0, 0.25, 0.5, 0.75, 1].map(part => rgb(this.colour(part * this.most))).join(",");
    const ramp = h("span", { className: "gp-ramp" });
    ramp.style.background = `linear-gradient(90deg,${stops})`;
    this.parts.tree.firstChild.replaceChildren(h("span", { className: "gp-map-title" }, "Known pages"),
      h("span", { className: "gp-legend" }, "found 0", ramp, `${this.most} times`, h("span", { className: "gp-page-cell gp-read gp-key-cell" }), "being read", h("span", { className: "gp-page-cell gp-of-request gp-key-cell" }), "of the picked request"));
    const rows = tree.branches.map(branch => {
      const cells = branch.names.map((name, index) => {
        const from = branch.start + index * size, hits = branch.hits[index], readers = branch.readers[index];
        const title = `page ${name}, tokens ${from} to ${from + size - 1}, found ${hits} times${readers ? `, read by ${readers} now` : ""}\n${oneLine(branch.hints[index])}…`;
        const cell = this.cell(name, hits, readers, title, () => { this.list.focus({ preventScroll: true }); this.pickPage(name); });
        cell.id = this.idOf(name);
        cell.setAttribute("role", "option");
        cell.setAttribute("aria-label", title);
        cell.setAttribute("aria-selected", String(name === picked.page));
        return cell;
      });
      const at = branch.start + branch.common;
      const words = h("div", { className: "gp-branch-words" }, branch.depth ? h("span", { className: "gp-faint" }, `${at} `) : null, h("code", {}, `${branch.common || branch.start ? "…" : ""}${oneLine(branch.text)}…`),
        branch.plain ? null : h("span", { className: "gp-chip-note" }, "with interventions"));
      const row = h("div", { className: "gp-branch", role: "group", "aria-label": `Branch from token ${at}: ${oneLine(branch.text)}` }, words, h("div", { className: "gp-cells" }, ...cells));
      row.style.marginLeft = `${Math.min(branch.depth, 10) * 20}px`;
      if (branch.depth) row.classList.add("gp-below");
      return row;
    });
    if (!rows.length) rows.push(h("p", { className: "gp-faint" }, `Nothing yet: a context is known from its first full page of ${size} tokens on.`));
    if (tree.left_out) rows.push(h("p", { className: "gp-faint" }, `${grouped(tree.left_out)} more pages, used longer ago, are not shown.`));
    this.list.replaceChildren(...rows);
    if (picked.page && tree.branches.some(branch => branch.names.includes(picked.page))) this.list.setAttribute("aria-activedescendant", this.idOf(picked.page));
    else this.list.removeAttribute("aria-activedescendant");
  }
  idOf(name) { return `gp-page-${(this.id ??= Math.random().toString(36).slice(2))}-${name.replace(":", "-")}`; }
  paintPage() {
    const { page, picked, tree } = this, there = page && page.page === picked.page;
    this.strip.node.hidden = this.forking.hidden = !there;
    if (!there) {
      this.pageHead.replaceChildren(h("h3", {}, "Page"), h("p", { className: "gp-faint" }, "Pick a page for its tokens; then a token, to go on from it with other words or settings."));
      return;
    }
    const tail = picked.page.startsWith("r"), count = page.text.length;
    const token = picked.token ?? count - 1, kept = page.start + token + 1;
    this.pageHead.replaceChildren(h("h3", {}, tail ? `Request ${picked.page.slice(1)}, what is in no full page` : `Page ${picked.page}`),
      h("p", { className: "gp-faint" }, count ? `tokens ${page.start} to ${page.start + count - 1} of the context` : "nothing: all is in full pages"));
    this.strip.node.hidden = this.forking.hidden = !count;
    this.strip.mark(picked.token === null ? null : [0, token + 1], () => true, null);
    this.forking.hidden ||= !this.live;
    const shared = Math.min(Math.floor(page.start / tree.page_size) + (!tail && token === count - 1 ? 1 : 0), Math.floor((kept - 1 + Math.min(1, this.words.value.length)) / tree.page_size));
    this.forkNote.textContent = `After token ${kept - 1}: finds ${shared} page${shared === 1 ? "" : "s"}, and computes what comes after them.`;
  }
  paintRequests() {
    const { tree, requests, picked } = this, size = tree.page_size, hits = new Map(), readers = new Map();
    for (const branch of tree.branches) branch.names.forEach((name, index) => { hits.set(name, branch.hits[index]); readers.set(name, branch.readers[index]); });
    const cells = names => names.map(name => this.cell(name, hits.get(name) ?? 0, readers.get(name), `page ${name}`, () => this.pickPage(name)));
    const open = (count, title) => Array.from({ length: Math.min(count, 64) }, () => h("span", { className: "gp-page-cell gp-open", title }));
    const running = tree.running.map(run => h("div", { className: "gp-request" },
      h("div", { className: "gp-request-head" }, h("b", {}, run.waits ? "waits" : "runs"), h("span", { className: "gp-faint" }, `${grouped(run.held)} of ${grouped(run.length)} tokens in pages; ${grouped(run.cached)} were found, ${grouped(run.length - run.prompt)} written`)),
      h("div", { className: "gp-cells" }, ...cells(run.names), ...open(run.own, "a page of its own yet")), h("code", { className: "gp-request-words" }, `…${oneLine(run.text)}`)));
    const known = [...requests].reverse().map(request => {
      const about = request.error ? "failed" : request.finish ? `${grouped(request.prompt)} tokens of prompt, ${grouped(request.cached)} of them found; ${grouped(request.count)} written, ${request.finish}` : `${grouped(request.count)} tokens so far`;
      const chosen = picked.request === request.number, tail = `r${request.number}`;
      return h("div", { className: `gp-request${chosen ? " gp-chosen" : ""}` },
        h("div", { className: "gp-request-head" }, h("button", { type: "button", "aria-pressed": String(chosen), textContent: `Request ${request.number}`, onclick: () => this.pick({ request: chosen ? null : request.number }) }),
          h("b", {}, request.title), h("span", { className: "gp-faint" }, about), h("span", { className: "gp-space" }),
          request.tail ? h("button", { type: "button", "aria-pressed": String(picked.page === tail), textContent: `${grouped(request.tail)} tokens in no page`, title: "Show them, and fork at one", onclick: () => this.pickPage(tail) }) : null),
        request.names.length ? h("div", { className: "gp-cells" }, ...cells(request.names), ...open(request.tail ? Math.ceil(request.tail / size) : 0, "not full: known to nobody else")) : null,
        h("div", { className: "gp-text" }, h("span", { className: "gp-faint" }, `…${request.text}`), request.answer, request.error));
    });
    keepFocus(this.parts.requests, [h("h4", {}, "Requests, and the pages that hold them"), ...running, ...known,
      running.length || known.length ? "" : h("p", { className: "gp-faint" }, "None runs, and none was asked for here yet.")]);
  }
}

function render({ model, el }) {
  const explorer = new CacheExplorer(model, el);
  return () => explorer.close();
}

export default { render };
