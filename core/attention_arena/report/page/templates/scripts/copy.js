// A table as Markdown, LaTeX or CSV, as it stands: sorted, and without what is hidden.
const MARKDOWN = /[\\`*_[\]|<>$~#]/g;
const LATEX = {
  "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
  "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
  "±": "$\\pm$", "×": "$\\times$", "−": "$-$", "↑": "$\\uparrow$", "↓": "$\\downarrow$", "≤": "$\\leq$", "≥": "$\\geq$",
  "∼": "$\\sim$", "†": "\\dag{}", "‡": "\\ddag{}", "§": "\\S{}", "¶": "\\P{}", "µ": "$\\mu$", "·": "$\\cdot$", "…": "\\ldots{}",
  "“": "``", "”": "''", "’": "'", "–": "--", "—": "---",
};
// Footnote letters.
[..."ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"].forEach((raised, place) => {
  LATEX[raised] = `\\textsuperscript{${"abcdefghijklmnoprstuvwxyz"[place]}}`;
});

function isShown(element) {
  return !element.classList.contains("off") && !element.classList.contains("filtered");
}

// The pieces of a cell that stand below each other, on one line.
function textOf(cell) {
  const parts = [];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) parts.push(node.textContent);
    else if (!node.classList.contains("unseen") && node.tagName !== "svg") {
      if (node.matches(".beside, .below, .verdict, .flag, .tag")) parts.push(" ");
      if (node.matches(".below[title]")) parts.push(node.title);
      else for (const child of node.childNodes) walk(child);
    }
  };
  for (const child of cell.childNodes) walk(child);
  return parts.join("").replace(/\s+/g, " ").trim();
}

function cellsOf(table) {
  const columns = [...table.tHead.rows[0].cells].map((cell) => isShown(cell));
  const rows = [table.tHead.rows[0], ...[...table.tBodies].flatMap((body) => [...body.rows])];
  return rows
    .filter((row) => isShown(row) && !row.classList.contains("heading"))
    .map((row) => [...row.cells].filter((_, index) => columns[index]).map((cell) => ({
      text: textOf(cell),
      best: Boolean(cell.querySelector(".best")),
      near: Boolean(cell.querySelector(".near")),
      number: cell.classList.contains("number"),
    })));
}

function markdown(rows) {
  const written = rows.map((row) => row.map(({ text, best, near }) => {
    const escaped = text.replace(MARKDOWN, (letter) => (letter === "<" ? "&lt;" : letter === ">" ? "&gt;" : `\\${letter}`));
    return best ? escaped.replace(/^\S+/, "**$&**") : near ? escaped.replace(/^\S+/, "*$&*") : escaped;
  }));
  const rule = rows[0].map(({ number }) => (number ? "--:" : ":--"));
  return [written[0], rule, ...written.slice(1)].map((row) => `| ${row.join(" | ")} |`).join("\n") + "\n";
}

function latex(rows) {
  const escape = (text) => [...text].map((letter) => LATEX[letter] ?? letter).join("");
  const written = rows.map((row) => row.map(({ text, best, near }) => {
    if (!best && !near) return escape(text);
    const [first] = text.split(" ");
    return `\\${best ? "textbf" : "underline"}{${escape(first)}}${escape(text.slice(first.length))}`;
  }));
  const lines = written.map((row) => `${row.join(" & ")} \\\\`);
  const columns = rows[0].map(({ number }) => (number ? "r" : "l")).join("");
  return [`\\begin{tabular}{${columns}}`, "\\toprule", lines[0], "\\midrule", ...lines.slice(1), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

function csv(rows) {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map(({ text }) => quoted(text)).join(",")).join("\n") + "\n";
}

async function put(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

for (const bar of document.querySelectorAll(".table > .bar")) {
  const table = bar.parentElement.querySelector("table");
  const group = document.createElement("span");
  group.className = "copy";
  group.append("copy as ");
  for (const [name, write] of [["Markdown", markdown], ["LaTeX", latex], ["CSV", csv]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.setAttribute("aria-label", `Copy as ${name}: ${table.caption.textContent}`);
    button.addEventListener("click", async () => {
      await put(write(cellsOf(table)));
      button.textContent = "copied";
      setTimeout(() => { button.textContent = name; }, 1200);
    });
    group.append(button);
  }
  bar.append(group);
}
