// The map of the seeds, the search over those selected, and the way to their examples.

const LISTED = 50;

function rampTop() {
  const known = seeds.map((seed) => seed.seam).filter((seam) => seam !== null).sort((a, b) => a - b);
  return known[Math.floor(0.95 * (known.length - 1))] || 1;
}

/** A colour between two of the style sheet's, #rrggbb. */
function between(low, high, share) {
  const part = (text, i) => parseInt(text.slice(1 + 2 * i, 3 + 2 * i), 16);
  const mixed = [0, 1, 2].map((i) => Math.round(part(low, i) + share * (part(high, i) - part(low, i))));
  return `rgb(${mixed.join(" ")})`;
}

function mapDrawer() {
  const top = rampTop();
  byId("ramp-high").textContent = `${small(top)} and above`;
  return (context, seed, x, y) => {
    const share = Math.min((seed.seam || 0) / top, 1);
    const found = matching.has(seed.prompt);
    context.globalAlpha = searching && !found ? 0.18 : 0.9;
    context.beginPath();
    context.arc(x, y, 2 + 3.5 * share + (searching && found ? 1.5 : 0), 0, 2 * Math.PI);
    context.fillStyle = between(color("--low"), color("--high"), share);
    context.fill();
    if (seed.prompt !== null) {
      context.strokeStyle = color("--ink");
      context.lineWidth = 0.9;
      context.stroke();
    }
    context.globalAlpha = 1;
  };
}

let matching = new Set();
let searching = false;

function search() {
  const query = byId("prompt-search").value;
  const fits = finder(query);
  searching = query.trim() !== "";
  const found = prompts.map((prompt, i) => [prompt, i]).filter(([prompt]) => fits(prompt.text.toLowerCase()))
    .sort((a, b) => b[0].seam - a[0].seam);
  matching = new Set(found.map(([, i]) => i));
  byId("prompt-count").textContent = `${counted(found.length)} of ${counted(prompts.length)} prompts`
    + (found.length > LISTED ? `; the ${LISTED} of the highest SEAM are listed` : "");
  byId("prompt-list").replaceChildren(...found.slice(0, LISTED).map(([prompt, i]) => element("li", {},
    element("button", { type: "button", "data-row": i, click: () => showPrompt(i) },
      element("span", { class: "clip", dir: "auto" }, prompt.text),
      element("span", { class: "number" }, digits(prompt.seam, 2))))));
  promptPlot.paint();
}

function showSeed(seed) {
  if (seed.prompt !== null) {
    showPrompt(seed.prompt);
    return;
  }
  promptPlot.select(seed);
  byId("prompt").replaceChildren(
    captioned(`seed ${seed.position + 1}`, "Not selected: its text is not in the run folder, but in your seeds."),
    numbers([["SEAM", seed.seam === null ? "not scored" : digits(seed.seam)]]));
}

function showPrompt(row) {
  const prompt = prompts[row];
  promptPlot.select(seeds.find((seed) => seed.prompt === row) || null);
  for (const item of byId("prompt-list").querySelectorAll("button")) {
    item.setAttribute("aria-current", String(Number(item.dataset.row) === row));
  }
  byId("prompt").replaceChildren(
    ...prompt.context.map(([role, text]) => captioned(`earlier turn (${role})`, text)),
    captioned("prompt", prompt.text),
    captioned("golden response", prompt.golden),
    numbers([["SEAM on its hack set", prompt.seam === null ? "not scored" : digits(prompt.seam)],
      ["cluster", prompt.cluster], ["candidates", `${prompt.made}, ${prompt.kept} kept`]]),
    element("button", { type: "button", disabled: prompt.made ? null : "", click: () => showExamplesOf(row) },
      prompt.made ? "Its examples" : "No candidate was made of it"),
  );
}

let promptPlot = null;
if (byId("prompt-plot") && seeds.length) {
  const dots = seeds.map((seed) => Object.assign(seed, { bonus: seed.prompt === null ? 0 : 4 }));
  promptPlot = new Plot(byId("prompt-plot"), {
    dots, labels: ["first component", "second component"], draw: mapDrawer(), choose: showSeed, numbered: false,
  });
  byId("prompt-search").addEventListener("input", search);
  search();
}
