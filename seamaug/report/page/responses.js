// Policy log-probability against reward: the misjudged responses stand out.

const AXES = {
  margin: "RM reward less the golden response's (SD)",
  reward: "RM reward (SD from the mean)",
};

const isMisjudged = (dot) => !dot.golden && dot.margin > 0;

function placed(vertical) {
  const order = (dot) => (dot.worst ? 3 : isMisjudged(dot) ? 2 : dot.golden ? 1 : 0);
  for (const dot of responses) Object.assign(dot, { x: dot.logprob, y: dot[vertical] });
  // The golden responses all lie at 0 where rewards are counted from theirs.
  const shown = responses.filter((dot) => vertical === "reward" || !dot.golden);
  return [shown.sort((a, b) => order(a) - order(b)),
    ["PM log-probability (nats per token; right: likelier)", AXES[vertical]]];
}

function drawResponse(context, dot, x, y) {
  context.globalAlpha = dot.worst ? 1 : 0.55;
  context.beginPath();
  if (isMisjudged(dot)) {
    const size = dot.worst ? 5.5 : 3.5;
    context.moveTo(x, y - size);
    context.lineTo(x + size, y + size);
    context.lineTo(x - size, y + size);
    context.fillStyle = color("--before");
    context.fill();
  } else {
    context.arc(x, y, dot.golden ? 3 : 2.2, 0, 2 * Math.PI);
    context.fillStyle = color("--judged");
    context.strokeStyle = color("--after");
    context.lineWidth = 1.5;
    if (dot.golden) context.stroke();
    else context.fill();
  }
  context.globalAlpha = 1;
}

function showResponse(dot) {
  responsePlot.select(dot);
  for (const item of byId("worst").querySelectorAll("button")) {
    item.setAttribute("aria-current", String(responses.indexOf(dot) === Number(item.dataset.row)));
  }
  const prompt = prompts[dot.prompt];
  byId("response").replaceChildren(
    captioned("prompt", prompt ? prompt.text : `seed ${dot.position + 1}: not selected, so its text is not in the run folder`),
    captioned(dot.golden ? "golden response" : isMisjudged(dot) ? "misjudged response" : "worse response",
      dot.golden ? (prompt ? prompt.golden : "as in your seeds") : dot.text),
    numbers([
      ["log-probability", `${digits(dot.logprob, 2)} nats per token`],
      ["reward", `${digits(dot.reward, 2)} SD`],
      ["over the golden", dot.golden ? null : `${digits(dot.margin, 2)} SD`],
      ["adds to SEAM", dot.golden ? null : small(dot.weight)],
    ]),
    prompt && prompt.made ? element("button", { type: "button", click: () => showExamplesOf(dot.prompt) }, "Examples of this prompt") : "",
  );
}

let responsePlot = null;
if (byId("response-plot") && responses.length) {
  const ranked = responses.filter((dot) => dot.worst).slice(0, 12);
  const [dots, labels] = placed("margin");
  responsePlot = new Plot(byId("response-plot"), { dots, labels, draw: drawResponse, choose: showResponse });
  byId("worst").append(...ranked.map((dot) => element("li", {},
    element("button", { type: "button", "data-row": responses.indexOf(dot), click: () => showResponse(dot) },
      element("span", { class: "clip", dir: "auto" }, dot.text),
      element("span", { class: "number" }, `+${digits(dot.margin, 2)} SD`)))));
  for (const choice of document.getElementsByName("vertical")) {
    choice.addEventListener("change", () => responsePlot.show(...placed(choice.value)));
  }
}
