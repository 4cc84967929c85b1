// One run on the page: its tokens, its numbers, its timeline.

const LANE = 18, LABEL = 74, NARROW = 320;

/** Return an element with attributes, a class and children. */
export function make(tag, { svg = false, ...attributes } = {}, ...children) {
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const colour = (member) => (member === null ? "none" : `m${member % 6}`);
const proposer = (token) => (token.looked_up ? "lookup" : colour(token.member));
const swatch = (kind, ...text) => make("li", {}, make("span", { class: `swatch ${kind}` }), ...text);

const percent = (share) => (share === null ? "–" : share < 0.0001 && share > 0 ? "<0.01%" : `${(100 * share).toFixed(2)}%`);
const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣") || "∅";

export class Run {
  /** Args: title; members: their names; given: the prompt, shown before the text; inspect: called with a token, or null. */
  constructor(title, members, given, inspect) {
    this.members = members;
    this.inspect = inspect;
    this.tokens = [];
    this.turns = [];
    this.text = "";
    this.decided = 0;
    this.chosen = -1;
    this.heading = make("span", { class: "speed" });
    this.used = make("p", { class: "used" });
    this.output = make("pre", { class: "text", tabindex: "0", role: "group", "aria-label": `Text of ${title}; arrow keys move between tokens` });
    if (given) this.output.append(make("span", { class: "given" }, given));
    this.numbers = make("dl", { class: "numbers" });
    this.table = make("table");
    const legend = make("ul", { class: "legend", "aria-label": "Colours" }, ...members.map((name, index) => swatch(colour(index), `proposed by ${name}`)),
      swatch("lookup", "looked up in the text"), swatch("redrawn none", "redrawn: another token was proposed"), swatch("drawn none", "drawn without a proposal"));
    this.timeline = make("div", { class: "timeline" });
    const caption = "Who ran when; below, what each step committed: accepted upwards, redrawn or drawn downwards";
    this.element = make("article", { class: "run" }, make("h2", {}, title, this.heading), this.used, this.output, legend, this.numbers,
      this.table, make("figure", {}, make("figcaption", {}, caption), this.timeline));
    this.output.addEventListener("keydown", (event) => this.move(event));
    this.output.addEventListener("focus", () => { if (this.chosen < 0 && this.tokens.length) this.choose(0); });
    this.output.addEventListener("blur", () => this.inspect(null));
    this.output.addEventListener("pointerleave", () => { if (document.activeElement !== this.output) this.inspect(null); });
    new ResizeObserver(() => this.draw()).observe(this.timeline);
    this.refresh();
  }

  /** Show a chunk of the stream. */
  add(chunk) {
    const delta = chunk.choices[0];
    if (delta) this.text += (delta.delta ? delta.delta.content : delta.text) || "";
    if (chunk.metrics) this.tell(chunk.metrics.collaboration);
    const seen = chunk.unisono;
    if (!seen) return;
    this.turns.push({ ...seen.turn, origins: seen.tokens.map((token) => token.origin) });
    for (const token of seen.tokens) this.addToken(token);
    this.refresh();
  }

  /** Show the metrics of the request. */
  tell({ combination, schedule, verification }) {
    this.used.textContent = [combination, schedule, `${verification} verification`].join(" · ");
  }

  addToken(token) {
    const index = this.tokens.push(token) - 1;
    if (!["drawn", "forced"].includes(token.origin)) this.decided += 1;
    const shown = token.text.startsWith("bytes:") ? "▯" : token.text;
    const span = make("span", { class: `token ${token.origin} ${proposer(token)}` }, shown);
    if (shown.includes("\n")) span.prepend(make("span", { class: "mark", "aria-hidden": "true" }, "⏎"));
    token.element = span;
    for (const name of ["pointerenter", "click"]) span.addEventListener(name, () => this.choose(index));
    this.output.append(span);
  }

  /** Mark the first token at which two runs differ, and return its number; null if the texts are equal. */
  part(other) {
    const most = Math.max(this.tokens.length, other.tokens.length);
    for (let index = 0; index < most; index++) {
      if (this.tokens[index]?.id === other.tokens[index]?.id) continue;
      for (const run of [this, other]) run.tokens[index]?.element.classList.add("parts");
      return index + 1;
    }
    return null;
  }

  choose(index) {
    if (this.tokens[this.chosen]) this.tokens[this.chosen].element.classList.remove("chosen");
    this.chosen = Math.max(0, Math.min(index, this.tokens.length - 1));
    const token = this.tokens[this.chosen];
    if (!token) return;
    token.element.classList.add("chosen");
    this.inspect(token, this.chosen, this.members);
    if (document.activeElement === this.output) token.element.scrollIntoView({ block: "nearest" });
  }

  move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -1e9, End: 1e9 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.choose(this.chosen + step);
  }

  get milliseconds() {
    return this.turns.length ? this.turns.at(-1).end_ms - this.turns[0].start_ms : 0;
  }

  get speed() {
    return this.milliseconds ? (1000 * this.tokens.length) / this.milliseconds : 0;
  }

  sum(field, member) {
    return this.turns.reduce((total, turn) => total + turn[field][member], 0);
  }

  refresh() {
    const accepted = this.tokens.filter((token) => token.origin === "accepted").length;
    const shown = {
      "tokens": this.tokens.length,
      "tokens/s": this.speed.toFixed(1),
      "acceptance": this.decided ? percent(accepted / this.decided) : "–",
      "steps": this.turns.length,
    };
    this.numbers.replaceChildren(...Object.entries(shown).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))));
    const rows = this.members.map((name, member) => {
      const taken = this.tokens.filter((token) => token.member === member && token.origin === "accepted").length;
      const cells = [this.sum("forwards", member), this.sum("proposed", member), taken];
      return make("tr", {}, make("td", {}, make("span", { class: `swatch ${colour(member)}` }), name), ...cells.map((cell) => make("td", {}, String(cell))));
    });
    const found = this.turns.reduce((total, turn) => total + turn.looked_up, 0);
    if (found) {
      const stood = this.tokens.filter((token) => token.looked_up && token.origin === "accepted").length;
      rows.push(make("tr", {}, make("td", {}, make("span", { class: "swatch lookup" }), "looked up"), ...["–", found, stood].map((cell) => make("td", {}, String(cell)))));
    }
    const heads = ["proposer", "forwards", "proposed", "accepted"].map((name) => make("th", { scope: "col" }, name));
    this.table.replaceChildren(make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
    this.draw();
  }

  /** Draw the timeline: a lane per member, a bar per step that the member ran in, and the committed tokens. */
  draw() {
    const lanes = this.members.length, middle = LANE * lanes + 26, height = middle + 26;
    const start = this.turns.length ? this.turns[0].start_ms : 0, span = Math.max(this.milliseconds, 1);
    const full = Math.max(NARROW, this.timeline.clientWidth - 2);
    const at = (ms) => LABEL + ((ms - start) / span) * (full - LABEL - 6);
    const svg = (tag, attributes, ...children) => make(tag, { svg: true, ...attributes }, ...children);
    const picture = svg("svg", { viewBox: `0 0 ${full} ${height}`, width: "100%", role: "img", "aria-label": `Timeline of ${this.turns.length} steps` });
    this.members.forEach((name, member) => picture.append(svg("text", { x: 4, y: LANE * member + 16 }, name.length > 12 ? `${name.slice(0, 11)}…` : name)));
    picture.append(svg("line", { class: "lane", x1: LABEL, x2: full, y1: middle, y2: middle }), svg("text", { x: 4, y: middle + 4 }, "committed"));
    for (const turn of this.turns) {
      const x = at(turn.start_ms), width = Math.max(1, at(turn.end_ms) - x - 0.5);
      turn.forwards.forEach((count, member) => {
        if (!count) return;
        const told = `${this.members[member]}: ${count} forwards, ${turn.proposed[member]} proposed, ${(turn.end_ms - turn.start_ms).toFixed(1)} ms`;
        picture.append(svg("rect", { class: `bar ${colour(member)}`, x, width, y: LANE * member + 5, height: LANE - 6, rx: 1 }, svg("title", {}, told)));
      });
      const accepted = turn.origins.filter((origin) => origin === "accepted").length, others = turn.origins.length - accepted;
      if (accepted) picture.append(svg("rect", { class: "accepted", x, width, y: middle - 4 * Math.min(accepted, 5), height: 4 * Math.min(accepted, 5) }, svg("title", {}, `${accepted} accepted`)));
      if (others) picture.append(svg("rect", { class: turn.origins.at(-1), x, width, y: middle + 1, height: 8 }, svg("title", {}, turn.origins.at(-1))));
    }
    picture.append(svg("text", { x: full - 60, y: height - 4 }, `${span.toFixed(0)} ms`));
    this.timeline.replaceChildren(picture);
  }
}

/** Return elements that show the members' candidates at a token's position. */
export function candidates(token, index, members) {
  const law = token.drawn === null ? "combined" : `${members[token.drawn]}, drawn here`;
  const who = token.looked_up ? "looked up in the text" : token.member === null ? "" : `proposed by ${members[token.member]}`;
  const told = token.origin === "drawn" ? ["drawn without a proposal"] : token.origin === "forced" ? ["forced by the constraint"] : token.origin === "accepted" ? [`${who}, accepted`] :
    ["redrawn in place of ", make("code", {}, visible(token.proposed.text)), `, ${who}`];
  const heads = ["token", law, ...members].map((name) => make("th", { scope: "col" }, name));
  const rows = token.candidates.map((candidate) => {
    const cell = (share) => make("td", {}, ...(share === null ? [] : [make("meter", { min: 0, max: 1, value: share })]), make("span", { class: "share" }, percent(share)));
    const shares = [candidate.combined, ...candidate.members].map(cell);
    return make("tr", candidate.id === token.id ? { class: "taken" } : {}, make("td", {}, make("code", {}, visible(candidate.text))), ...shares);
  });
  return [make("h2", {}, `Token ${index + 1} `, make("code", {}, visible(token.text)), " – ", ...told),
    make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)),
    ...(token.candidates.some((each) => [each.combined, ...each.members].includes(null)) ? [make("p", {}, "–: not asked here, since the token did not depend on it")] : [])];
}
