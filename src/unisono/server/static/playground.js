// The page: its controls, and the runs that they start.
import { models, Refused, stream } from "./api.js";
import { candidates, colour, make, Run } from "./run.js";

const at = (id) => document.getElementById(id);
const state = { models: [], chat: false, messages: [], stop: null };
const NUMBERS = ["temperature", "max_tokens", "top_p", "top_k", "min_p", "seed"];

const model = () => state.models.find((each) => each.id === at("model").value);
const names = () => model().members.map((member) => member.name + (member.drafts_only ? " (drafts only)" : ""));
const combined = () => model().members.filter((member) => !member.drafts_only);

function say(text, error = false) {
  at("message").textContent = text;
  at("message").className = error ? "error" : "";
}

async function load() {
  try {
    state.models = await models(at("key").value);
    at("model").replaceChildren(...state.models.map((each) => make("option", { value: each.id }, each.id)));
    showModel();
    say("Ready.");
  } catch (error) {
    say(error.message, true);
  }
}

/** Show the controls for the chosen model's members, combination and schedules. */
function showModel() {
  const chosen = model(), count = chosen.members.length;
  at("members").replaceChildren(...chosen.members.map((member, index) => {
    const size = make("small", {}, ` ${(member.parameters / 1e6).toFixed(1)}M`);
    return make("li", {}, make("span", {}, make("span", { class: `swatch ${colour(index)}` }), names()[index], size));
  }));
  at("combine").value = chosen.combination;
  at("combine").disabled = !chosen.allowed.includes("combine");
  at("combinations").replaceChildren(...chosen.combinations.map((each) => make("option", { value: each })));
  at("schedule").value = "auto";
  at("schedule").disabled = !chosen.allowed.includes("schedule");
  const lengths = (most) => `cos:${chosen.members.map((_, index) => (index === count - 1 ? most : 1)).join(",")}`;
  const schedules = ["auto", "standard", ...(count > 1 ? ["parallel", "speculative:2", "speculative:4", lengths(1), lengths(4)] : [])];
  at("schedules").replaceChildren(...schedules.map((each) => make("option", { value: each })));
  at("guidance").hidden = !chosen.guidance;
  at("mode-chat").disabled = !chosen.chat;
  showWeights();
}

/** Return the chosen combination: its name, weights and options. */
function combination() {
  const [kind, values] = (at("combine").value || model().combination).split(/:(.*)/s);
  const parts = (values || "").split(",").filter((part) => part);
  return { kind, weights: parts.filter((part) => !part.includes("=")), options: parts.filter((part) => part.includes("=")) };
}

/** Show one control per weight if the chosen combination has weights. */
function showWeights() {
  const { kind, weights } = combination(), shown = model().per_member.includes(kind) && combined().length > 1 && !at("combine").disabled;
  [...at("members").children].forEach((item, index) => {
    item.querySelector("input")?.remove();
    if (!shown || index >= combined().length) return;
    const weight = make("input", { type: "number", step: "0.05", min: "0", value: weights[index] || "1", "aria-label": `Weight of ${names()[index]}` });
    weight.addEventListener("input", setWeights);
    item.append(weight);
  });
}

function setWeights() {
  const { kind, options } = combination(), weights = [...at("members").querySelectorAll("input")].map((input) => input.value || 0);
  at("combine").value = `${kind}:${[...weights, ...options].join(",")}`;
}

function setMode(chat) {
  state.chat = chat;
  at("mode-chat").setAttribute("aria-pressed", chat);
  at("mode-prompt").setAttribute("aria-pressed", !chat);
  at("system-field").hidden = at("clear").hidden = !chat;
  at("prompt-label").textContent = chat ? "Your message" : "Prompt";
  at("chat").hidden = !chat || !state.messages.length;
}

/** Return the body of the request for a schedule. */
function body(schedule) {
  const chosen = model(), asked = { model: chosen.id, stream: true, trace: { candidates: 5 }, spec_decode_metrics: "summary" };
  for (const name of NUMBERS) if (at(name).value !== "") asked[name] = Number(at(name).value);
  const collaboration = {};
  const guided = chosen.guidance && at("scale").value !== "";
  if (guided) asked.guidance_scale = Number(at("scale").value);
  else if (at("combine").value && at("combine").value !== chosen.combination) collaboration.combine = at("combine").value;
  if (schedule && chosen.allowed.includes("schedule")) collaboration.schedule = schedule;
  if (at("compare").checked && chosen.allowed.includes("verification")) collaboration.verification = "coupled"; // both runs give the same text
  if (Object.keys(collaboration).length) asked.collaboration = collaboration;
  if (state.chat) {
    const system = at("system").value ? [{ role: "system", content: at("system").value }] : [];
    asked.messages = [...system, ...state.messages];
    if (guided && at("negative").value) asked.negative_messages = [{ role: "user", content: at("negative").value }];
  } else {
    asked.prompt = at("prompt").value;
    if (guided && at("negative").value) asked.negative_prompt = at("negative").value;
  }
  return asked;
}

async function decode(schedule, title, signal) {
  const asked = body(schedule);
  const beside = asked.guidance_scale !== undefined && combined().length === 1; // guidance runs the member twice, without a draft model
  const run = new Run(`${title} · ${asked.model}`, beside ? [model().members[0].name, `${model().members[0].name} unguided`] : names(), state.chat ? "" : asked.prompt, inspect);
  at("runs").append(run.element);
  const path = state.chat ? "/v1/chat/completions" : "/v1/completions";
  try {
    for await (const chunk of stream(path, asked, at("key").value, signal)) run.add(chunk);
  } finally {
    if (!run.tokens.length) run.element.remove();
  }
  return run;
}

/** Show the members' candidates beside a token; on a narrow screen the style sheet puts them at the bottom. */
function inspect(token, index, members) {
  const box = at("inspector");
  box.hidden = token === null;
  box.style.left = box.style.top = "";
  if (token === null) return;
  box.replaceChildren(...candidates(token, index, members));
  if (matchMedia("(max-width: 800px)").matches) return;
  const place = token.element.getBoundingClientRect(), size = box.getBoundingClientRect();
  const below = place.bottom + 8 + size.height < innerHeight;
  box.style.left = `${Math.max(8, Math.min(place.left, innerWidth - size.width - 8))}px`;
  box.style.top = `${below ? place.bottom + 8 : Math.max(8, place.top - size.height - 8)}px`;
}

async function start(event) {
  event.preventDefault();
  if (state.stop || !model()) return;
  if (state.chat) {
    if (!at("prompt").value.trim()) return say("Write a message first.", true);
    state.messages.push({ role: "user", content: at("prompt").value });
    showChat();
  }
  state.stop = new AbortController();
  at("run").disabled = true;
  at("stop").disabled = false;
  at("runs").replaceChildren();
  inspect(null);
  if (matchMedia("(max-width: 800px)").matches) at("results").scrollIntoView({ behavior: "smooth" });
  say("Decoding…");
  try {
    await decodeAll(at("schedule").value, state.stop.signal);
  } catch (error) {
    if (state.chat) state.messages.pop();
    say(error.name === "AbortError" ? "Stopped." : error instanceof Refused ? error.message : `The server cannot be reached (${error.message}).`, error.name !== "AbortError");
  } finally {
    state.stop = null;
    at("run").disabled = false;
    at("stop").disabled = true;
    showChat();
  }
}

/** Decode with the chosen schedule, and first with `standard` if the two are compared. They never run at the same time. */
async function decodeAll(schedule, signal) {
  if (at("compare").checked && at("seed").value === "") at("seed").value = Math.floor(Math.random() * 2 ** 32); // one seed for both runs
  const reference = at("compare").checked ? await decode("standard", "standard", signal) : null;
  const run = await decode(schedule, schedule || "as configured", signal);
  if (state.chat) {
    state.messages.push({ role: "assistant", content: run.text });
    at("prompt").value = "";
  }
  if (!reference) return say("Done.");
  const factor = (run.speed / reference.speed).toFixed(2);
  run.heading.textContent = `${factor}× standard`;
  say(`${schedule} decoded at ${factor} times the speed of standard, on seed ${at("seed").value}. ${apart(run.part(reference))}`);
}

/** Return a sentence: whether two runs with the same seed gave the same text, and if they did not, why. */
function apart(token) {
  if (token === null) return "Both texts are the same.";
  const reason = !model().allowed.includes("verification") ? "only coupled verification, which this server does not let requests choose, gives every schedule one text" :
    "forwards of other widths round otherwise, which tips near-ties; with --dtype float32 all schedules have one text, with --deterministic each repeats its own";
  return `The texts part at token ${token}, which is marked: ${reason}.`;
}

/** Show the conversation without the last answer, which is shown below with its tokens. */
function showChat() {
  at("chat").hidden = !state.chat || !state.messages.length;
  const said = state.messages.at(-1)?.role === "assistant" ? state.messages.slice(0, -1) : state.messages;
  at("chat").replaceChildren(...said.map((message) => make("p", {}, make("b", {}, message.role), message.content)));
}

at("form").addEventListener("submit", start);
at("stop").addEventListener("click", () => state.stop && state.stop.abort());
at("clear").addEventListener("click", () => { state.messages = []; at("runs").replaceChildren(); showChat(); });
at("model").addEventListener("change", showModel);
at("combine").addEventListener("input", showWeights);
at("mode-prompt").addEventListener("click", () => setMode(false));
at("mode-chat").addEventListener("click", () => setMode(true));
at("key").value = sessionStorage.getItem("unisono-key") || "";
at("key").addEventListener("change", () => { sessionStorage.setItem("unisono-key", at("key").value); load(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
  if (event.key === "Escape") state.stop ? state.stop.abort() : inspect(null);
});
load();
