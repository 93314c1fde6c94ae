// The page's rows, and the few helpers that put them on it. All text is set as text.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);

/** Objects out of a table's fields and rows. */
function rowsOf(table) {
  return table.rows.map((row) => Object.fromEntries(table.fields.map((name, i) => [name, row[i]])));
}

const prompts = rowsOf(DATA.prompts);
const seeds = rowsOf(DATA.seeds);
const responses = rowsOf(DATA.responses);
const examples = rowsOf(DATA.examples);

const byId = (id) => document.getElementById(id);

/** An element with attributes (a function is a listener) and children (a string is text). */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A text with a caption; its direction is its own. */
function captioned(caption, ...content) {
  return element("div", {}, element("p", { class: "cap" }, caption),
    element("div", { class: "text", dir: "auto" }, ...content));
}

function numbers(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== "");
  return element("dl", {}, ...shown.flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, String(value))]));
}

const minus = (text) => text.replace("-", "−");
const digits = (value, count = 3) => (value === null ? "–" : minus(value.toFixed(count)));
const counted = (value) => value.toLocaleString("en");

/** Small numbers keep their digits. */
const small = (value) => (value === null ? "–" : minus(String(Number(value.toPrecision(3)))));

/** Whether a text holds all words of a query, in any order. */
function finder(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return (text) => words.every((word) => text.includes(word));
}
