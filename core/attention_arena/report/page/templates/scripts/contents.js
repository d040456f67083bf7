// Links to the page's sections, in a list that opens at the page's edge.
const contents = document.querySelector(".contents");
for (const heading of document.querySelectorAll("main > section > h2")) {
  const link = document.createElement("a");
  link.href = `#${heading.parentElement.id}`;
  link.textContent = heading.textContent;
  const item = document.createElement("li");
  item.append(link);
  contents.querySelector("ul").append(item);
}

contents.addEventListener("click", (event) => { if (event.target.closest("a")) contents.open = false; });
contents.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !contents.open) return;
  contents.open = false;
  contents.querySelector("summary").focus();
});
document.addEventListener("pointerdown", (event) => { if (!contents.contains(event.target)) contents.open = false; });
