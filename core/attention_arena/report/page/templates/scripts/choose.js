// Which variants and tasks are shown, everywhere at once.
const hidden = { variant: new Set(), task: new Set() };

function apply() {
  for (const element of document.querySelectorAll("[data-variant], [data-task]")) {
    const { variant, task } = element.dataset;
    const off = (variant !== undefined && hidden.variant.has(variant)) || (task !== undefined && hidden.task.has(task));
    element.classList.toggle("off", off);
  }
  for (const button of document.querySelectorAll("[data-choose]")) {
    button.setAttribute("aria-pressed", !hidden[button.dataset.choose].has(button.dataset.value));
  }
  for (const button of document.querySelectorAll("[data-all]")) button.hidden = !hidden[button.dataset.all].size;
  document.dispatchEvent(new CustomEvent("arena:chosen", { detail: hidden }));
}

const chooser = document.querySelector(".chooser");
if (chooser) {
  chooser.hidden = false;
  chooser.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { choose, value, all, none } = button.dataset;
    if (none) {
      for (const each of chooser.querySelectorAll(`[data-choose=${none}]`)) hidden[none].add(each.dataset.value);
    } else if (all) {
      hidden[all].clear();
      button.closest(".choice").querySelector("[data-choose]").focus();
    } else if (!hidden[choose].delete(value)) hidden[choose].add(value);
    apply();
  });
}

for (const group of document.querySelectorAll(".scales")) {
  group.hidden = false;
  group.addEventListener("click", (event) => {
    const chosen = event.target.dataset.show;
    if (!chosen) return;
    for (const button of group.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", button.dataset.show === chosen);
    }
    for (const each of group.parentElement.querySelectorAll("[data-scale]")) each.hidden = each.dataset.scale !== chosen;
  });
}
