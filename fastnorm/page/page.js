
"use strict";
document.documentElement.classList.add("js");
const list = document.getElementById("features"), form = document.getElementById("choose");
const cards = [...list.children];
const names = cards.map(card => card.firstChild.textContent.toLowerCase());

// Which features are shown; the address keeps it.
function choose() {
  const q = form.q.value.toLowerCase(), flag = form.flag.value;
  let shown = 0;
  cards.forEach((card, i) => {
    const words = card.dataset.flags;
    const fits = names[i].includes(q) && (!flag || words && (flag === "any" || words.split(" ").includes(flag)));
    card.hidden = !fits;
    shown += Boolean(fits);
  });
  form.querySelector("output").value = `${shown.toLocaleString("en")} of ${cards.length.toLocaleString("en")} features`;
}
function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  form.q.value = given.get("q") ?? "";
  form.flag.value = given.get("flag") ?? "";
  choose();
}
form.addEventListener("input", () => {
  choose();
  const chosen = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  history.replaceState(null, "", "#" + chosen);
});
form.addEventListener("submit", event => event.preventDefault());
addEventListener("hashchange", read);
read();

// What a bin holds: in a table, and under the pointer. Bin 0 is below all others, the last one above.
const [left, wide, bins, binsAStd] = list.dataset.scale.split(" ").map(Number);
const edge = k => String((k - 1 - bins / 2) / binsAStd).replace("-", "−");
const range = k => k === 0 ? `below ${edge(1)}` : k > bins ? `${edge(k)} and above` : `${edge(k)} to ${edge(k + 1)}`;
const counts = svg => svg.dataset.counts.split(" ").map(n => Number(n).toLocaleString("en"));
list.addEventListener("toggle", ({target}) => {
  if (!target.open || target.lastChild.nodeName === "TABLE") return;
  const table = document.createElement("table");
  table.createTHead().innerHTML = '<tr><th scope="col">z-score</th><th scope="col">values</th></tr>';
  counts(target.parentNode.querySelector("svg")).forEach((n, k) => {
    table.insertRow().innerHTML = `<th scope="row">${range(k)}</th><td>${n}</td>`;
  });
  target.append(table);
}, true);
const tip = document.body.appendChild(document.createElement("div"));
tip.id = "tip";
tip.hidden = true;
addEventListener("pointermove", event => {
  const svg = event.target.closest?.("svg[data-counts]");
  tip.hidden = !svg;
  if (!svg) return;
  const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x;
  const k = Math.max(0, Math.min(bins + 1, Math.floor((x - left) / wide) + 1));
  tip.textContent = `z ${range(k)}: ${counts(svg)[k]} values`;
  tip.style.left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = event.clientY + 16 + "px";
});
