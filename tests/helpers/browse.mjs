// Open a page in Chromium, check it with axe-core, and say as JSON what was found.
// node browse.mjs PAGE CHROMIUM NODE_MODULES; each of the widths below, light and dark.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [page, chromium, modules] = process.argv.slice(2);
const load = createRequire(pathToFileURL(`${modules}/`));
const axe = load("axe-core");
const browser = await load("playwright-core").chromium.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu"],
});

// Runs in the page: press every header of the table of units, and read its first and last rows.
function sorted() {
  const table = document.getElementById("units");
  return [...table.tHead.rows[0].cells].map((head, column) => {
    head.querySelector("button").click();
    const keys = [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.key);
    const order = head.getAttribute("aria-sort");
    return { name: head.textContent, order, number: head.classList.contains("number"), keys };
  });
}

// Runs in the page: choose every unit, so that each is drawn, and measure what is shown.
function browsed() {
  const [layer, unit] = document.querySelectorAll(".tln-choice select");
  const choose = (list, option) => {
    list.value = option.value;
    list.dispatchEvent(new Event("change"));
  };
  const seen = [];
  for (const row of [...layer.options]) {
    choose(layer, row);
    for (const other of [...unit.options]) {
      choose(unit, other);
      const shown = [...document.querySelectorAll(".tln-unit")].filter((panel) => !panel.hidden);
      seen.push({ layer: row.value, unit: other.textContent, shown: shown.map((panel) => panel.id) });
    }
  }
  return seen;
}

async function visit(width, colorScheme) {
  const tab = await browser.newPage({ viewport: { width, height: 800 }, colorScheme });
  const console = [], requests = [];
  // The browser's own words about its GPU are not the page's.
  const own = (text) => !text.includes("GL Driver Message");
  tab.on("console", (message) => own(message.text()) && console.push(message.text()));
  tab.on("pageerror", (error) => console.push(String(error)));
  tab.on("request", (request) => requests.push(request.url()));
  await tab.goto(pathToFileURL(page).href);
  await tab.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = true)));
  const chosen = await tab.evaluate(browsed);
  // circuitsvis draws after the scripts of the page have run: every unit, and every map.
  await tab.waitForFunction(() => [...document.querySelectorAll(".tln-unit")].every(
    (unit) => unit.querySelector(".colored-tokens")));
  await tab.waitForFunction(() => [...document.querySelectorAll(".tln-scroll")].every(
    (map) => map.querySelector("canvas, svg, img")));
  const views = [];
  for (const { shown } of chosen) {
    views.push(...(await tab.evaluate(([id]) => {
      document.querySelectorAll(".tln-unit").forEach((unit) => { unit.hidden = unit.id !== id; });
      const drawn = document.querySelectorAll(`#${id} .colored-tokens`);
      return [...drawn].map((text) => [text.offsetWidth, text.offsetHeight]);
    }, shown)));
  }
  await tab.evaluate(axe.source);
  const { violations } = await tab.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  const found = {
    width,
    colorScheme,
    violations: violations.map(({ id, impact, nodes }) => ({
      id,
      impact,
      nodes: nodes.slice(0, 5).map((node) => `${node.html.slice(0, 200)} ${node.failureSummary}`),
    })),
    scrolls: await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth),
    chosen,
    views,
    patterns: await tab.evaluate(() => [...document.querySelectorAll(".tln-scroll")].map((box) => box.querySelectorAll("canvas, svg, img").length)),
    figures: await tab.evaluate(() =>
      [...document.querySelectorAll("figure")].map((figure) => {
        const shown = [...figure.querySelectorAll("svg")].filter((svg) => svg.clientWidth > 0);
        return { shown: shown.length, width: shown[0]?.clientWidth, texts: shown[0]?.querySelectorAll("text").length };
      }),
    ),
    sorted: await tab.evaluate(sorted),
    ran: await tab.evaluate(() => globalThis.foreignScriptRan ?? false),
    console,
    requests: requests.filter((url) => !/^(data|about):/.test(url)).slice(1), // the page itself
  };
  await tab.close();
  return found;
}

try {
  const visits = [];
  for (const width of [1280, 390]) {
    for (const scheme of ["light", "dark"]) visits.push(await visit(width, scheme));
  }
  process.stdout.write(JSON.stringify(visits));
} finally {
  await browser.close();
}
