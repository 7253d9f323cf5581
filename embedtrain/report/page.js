for (const button of document.querySelectorAll("button[data-copy]")) {
  const code = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
const byText = new Intl.Collator(undefined, { numeric: true });
for (const table of document.querySelectorAll("table[data-sorts]")) {
  const body = table.tBodies[0];
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const at = heading.cellIndex;
      const up = heading.getAttribute("aria-sort") !== "ascending";
      const valued = (row) => row.cells[at].dataset.value;
      const isNumber = [...body.rows].some((row) => valued(row) !== undefined);
      const sorted = [...body.rows].sort((first, second) => {
        if (!isNumber) return byText.compare(first.cells[at].textContent, second.cells[at].textContent);
        return Number(valued(first)) - Number(valued(second));
      });
      if (!up) sorted.reverse();
      // What has no value stays at the end either way.
      const known = (row) => !isNumber || valued(row) !== "";
      body.append(...sorted.filter(known), ...sorted.filter((row) => !known(row)));
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    });
  }
}
