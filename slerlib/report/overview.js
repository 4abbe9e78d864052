// Sort and filter the cards of the runs; without scripts the page shows all, newest first.
const cards = [...document.querySelectorAll(".card")];
const grid = document.querySelector(".cards");
const [words, report, verdict, order] = ["words", "report", "verdict", "order"].map(id => document.getElementById(id));
const shown = document.getElementById("shown");

function show() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const key = order.value;
  const number = card => card.dataset[key] ? Number(card.dataset[key]) : -Infinity; // "0" is a number, "" is not
  const sorted = [...cards].sort((a, b) => key === "name"
    ? (a.dataset.name ?? "").localeCompare(b.dataset.name ?? "") : number(b) - number(a) || 0);
  let count = 0;
  for (const card of sorted) {
    const text = card.textContent.toLowerCase();
    card.hidden = !(wanted.every(word => text.includes(word))
      && (!report.value || card.dataset.report === report.value)
      && (!verdict.value || card.dataset.verdict === verdict.value));
    count += !card.hidden;
    grid.append(card);
  }
  shown.textContent = count < cards.length ? `${count} of them are shown.` : "";
}
for (const control of [words, report, verdict, order]) control.addEventListener("input", show);
document.querySelector(".controls").hidden = false;
show();
