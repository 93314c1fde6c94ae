// The examples: filtered, ordered, paged, and opened with their changes.

const PER_PAGE = 20;
const ORDERS = {
  "largest predicted fall": (a, b) => (b.reduction ?? -Infinity) - (a.reduction ?? -Infinity),
  "largest fall below parent": (a, b) => fallOf(b) - fallOf(a),
  "highest SEAM before": (a, b) => (b.before ?? -Infinity) - (a.before ?? -Infinity),
  "lowest SEAM after": (a, b) => (a.after ?? Infinity) - (b.after ?? Infinity),
  operator: (a, b) => (a.operator < b.operator ? -1 : a.operator > b.operator ? 1 : 0),
};
const view = { prompt: null, page: 0 };

const fallOf = (row) => (row.before === null || row.after === null ? -Infinity : row.before - row.after);
const textOf = (row) => row.changes.filter((_, i) => i % 2 && row.changes[i - 1] !== "-").join("");
for (const row of examples) {
  row.text = textOf(row);
  const parts = [row.text, row.chosen ?? prompts[row.prompt].golden, row.rejected, row.operator, row.reason];
  row.found = parts.join("\n").toLowerCase();
}

function choices() {
  const counts = (name) => {
    const found = new Map();
    for (const row of examples) found.set(name(row), (found.get(name(row)) || 0) + 1);
    return [...found].sort((a, b) => b[1] - a[1]);
  };
  const fill = (id, all, options) => byId(id).append(element("option", { value: "" }, all),
    ...options.map(([value, label]) => element("option", { value }, label)));
  const verdictOf = (row) => (row.reason ? `${row.verdict}: ${row.reason}` : row.verdict);
  fill("verdict", "all", counts(verdictOf).map(([name, count]) => [name, `${name} (${counted(count)})`]));
  fill("operator", "all", counts((row) => row.operator).map(([name, count]) => [name, `${name} (${counted(count)})`]));
  byId("order").append(...Object.keys(ORDERS).map((name) => element("option", {}, name)));
  return (row) => {
    const verdict = byId("verdict").value, operator = byId("operator").value;
    return (!verdict || verdictOf(row) === verdict) && (!operator || row.operator === operator);
  };
}

function changed(pieces) {
  const tags = { "=": "span", "+": "ins", "-": "del" };
  return pieces.flatMap((piece, i) => (i % 2 ? [element(tags[pieces[i - 1]], {}, piece)] : []));
}

function detail(row) {
  const parent = prompts[row.prompt];
  const verifier = row.verifier ? `worse according to: ${row.verifier}` : "";
  return element("div", { class: "example" },
    ...(parent ? parent.context.map(([role, text]) => captioned(`earlier turn (${role})`, text)) : []),
    captioned(parent ? "prompt, with its changes to the parent" : "prompt", ...changed(row.changes)),
    element("div", { class: "responses" },
      captioned(`chosen (${row.chosenSource})`, row.chosen ?? parent.golden),
      captioned(`rejected (${[row.rejectedSource, verifier].filter(Boolean).join("; ") || "none yet"})`, row.rejected)),
    row.reply ? captioned("reply of the LLM that could not be used", row.reply) : null,
    numbers([
      ["SEAM", `${digits(row.before)} (parent) → ${digits(row.after)}`],
      ["predicted fall of mean SEAM", small(row.reduction)],
      ["worth by the keep rule", small(row.worth)],
      ["predicted reward variance with it", small(row.variance)],
      ["reward of chosen less rejected", row.margin === null ? null : `${digits(row.margin, 2)} SD`],
      ["preference strength (judges)", row.mu === null ? null : `${digits(row.mu, 2)} ± ${digits(row.sigma, 2)} logits`],
      ["log-probability of chosen, rejected", row.logprobChosen === null ? null
        : `${digits(row.logprobChosen, 2)}, ${digits(row.logprobRejected, 2)} nats per token`],
      ["tokens", counted(row.tokens)],
      ["row in the datasets", row.row === null ? null : counted(row.row)],
      ["id", row.id],
    ]),
    parent ? element("button", { type: "button", click: () => showExamplesOf(row.prompt) }, "All of this prompt") : null);
}

function summaryRow(row) {
  const body = element("td", { colspan: 5 });
  const opened = element("tr", { hidden: "" }, body);
  const toggle = () => {
    opened.hidden = !opened.hidden;
    open.setAttribute("aria-expanded", String(!opened.hidden));
    body.replaceChildren(opened.hidden ? "" : detail(row));
  };
  const open = element("button", { class: "open", type: "button", "aria-expanded": "false" },
    element("span", { class: "clip", dir: "auto" }, row.text), element("span", { class: "operator" }, row.operator));
  const summary = element("tr", { class: "summary", click: toggle },
    element("td", {}, element("span", { class: `verdict ${row.verdict}` }, row.verdict), element("span", { class: "reason" }, row.reason)),
    element("td", {}, open),
    element("td", { class: "number wide-only" }, digits(row.before)),
    element("td", { class: "number" }, digits(row.after)),
    element("td", { class: "number wide-only" }, small(row.reduction)));
  return [summary, opened];
}

function showPage() {
  const fits = finder(byId("example-search").value);
  const rows = examples.filter((row) => (view.prompt === null || row.prompt === view.prompt) && isChosen(row) && fits(row.found))
    .sort(ORDERS[byId("order").value]);
  const pages = Math.max(1, Math.ceil(rows.length / PER_PAGE));
  view.page = Math.max(0, Math.min(view.page, pages - 1));
  byId("example-rows").replaceChildren(
    ...rows.slice(view.page * PER_PAGE, (view.page + 1) * PER_PAGE).flatMap(summaryRow));
  byId("example-count").textContent = `${counted(rows.length)} of ${counted(examples.length)} examples on this page`;
  byId("page").textContent = `${view.page + 1} of ${pages}`;
  byId("previous").disabled = view.page === 0;
  byId("next").disabled = view.page === pages - 1;
}

function turn(by) {
  view.page += by;
  showPage();
  byId("examples").scrollIntoView();
}

function fromStart() {
  view.page = 0;
  showPage();
}

/** The examples of a prompt, or of all for null. */
function showExamplesOf(prompt) {
  Object.assign(view, { prompt, page: 0 });
  const chosen = byId("chosen-prompt");
  chosen.hidden = prompt === null;
  if (prompt !== null) {
    for (const id of ["verdict", "operator", "example-search"]) byId(id).value = "";
    chosen.replaceChildren(element("span", { class: "clip", dir: "auto" }, `Of the prompt: ${prompts[prompt].text}`),
      element("button", { type: "button", click: () => showExamplesOf(null) }, "Show all"));
    byId("examples").scrollIntoView();
    chosen.lastChild.focus({ preventScroll: true });
  }
  showPage();
}

const isChosen = choices();
for (const id of ["example-search", "verdict", "operator", "order"]) byId(id).addEventListener("input", fromStart);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("previous").addEventListener("click", () => turn(-1));
byId("next").addEventListener("click", () => turn(1));
showPage();

byId("all-operators")?.addEventListener("click", () => {
  byId("more-operators").hidden = false;
  byId("all-operators").remove();
});
