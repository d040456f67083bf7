// Links to the page's sections.
const contents = document.querySelector(".contents");
for (const heading of document.querySelectorAll("main > section > h2")) {
  const link = document.createElement("a");
  link.href = `#${heading.parentElement.id}`;
  link.textContent = heading.textContent;
  contents.append(link);
}
contents.hidden = !contents.children.length;
